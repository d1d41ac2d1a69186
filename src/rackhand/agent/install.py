"""Installing a system: divide disks by the plan, write the image, prove its checksum, and only then make it bootable.

The plan (`Layout` in the manager) names disks by serial number; a machine that does not have them is not touched.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rackhand.agent.download import Download
from rackhand.agent.host import Disk, Host, HostError
from rackhand.agent.storage import Device, Sink, Slice, Storage

SEED = "/var/lib/cloud/seed/nocloud"
DATASOURCES = "datasource_list: [NoCloud, None]\n"
PERCENT_OF_IMAGE = 90  # of the step; the rest is looking and formatting

Json = dict[str, Any]
Report = Callable[[int | None, str], None]


def write_image(host: Host, args: Mapping[str, Any], report: Report) -> Json:
    """Put the image onto the disks of the plan.

    *args*: `layout`, and `image` with `url`, `size`, `sha256` and `format` (`tar.zst` or `raw.zst`). Before anything is
    overwritten, the disks are found and the image is asked for. When the checksum is wrong in the end, when anything
    else fails, or nobody wants it any more, the disks are cleared again: half a system must not start. Gives `bytes`,
    `seconds` and the disks.
    """
    layout, image = args["layout"], args["image"]
    disks = _find_disks(host, layout["disks"])
    download = Download(
        image["url"], int(image["size"]), open_url=host.open_url, now=host.now, pause=host.pause
    )
    download.look()
    storage = host.storage()
    begin = host.now()
    is_written = False
    try:
        storage.release(disks)
        for disk in disks:
            report(0, f"dividing {disk.name}")
            storage.clear(disk)
        sink = _open_sink(storage, disks, layout, image["format"], report)
        written = _fill(sink, download, image["sha256"], report)
        report(PERCENT_OF_IMAGE, "writing everything to the disks")
        for disk in disks:
            disk.flush()
        is_written = True
    finally:
        if not is_written:
            _abandon(storage, disks)
    return {
        "bytes": written,
        "seconds": round(host.now() - begin, 1),
        "disks": [{"name": disk.name, "serial": disk.serial} for disk in disks],
    }


def configure_system(host: Host, args: Mapping[str, Any], report: Report) -> Json:
    """Tell the written system what it is, and make it bootable from every disk of the plan.

    *args*: `layout`, `boot_mode` (`bios`, `uefi`), and `seed`, the files of cloud-init by name. Safe to repeat, also
    after a restart of the machine.
    """
    layout, seed = args["layout"], args["seed"]
    disks = _find_disks(host, layout["disks"])
    storage = host.storage()
    if layout["whole_disk"]:
        report(50, "adding the settings of the first boot")
        storage.add_seed(disks[0], seed)
        disks[0].flush()
        return {"boots_from": [disks[0].name]}
    storage.assemble(disks)
    _mount(storage, disks, layout)
    report(10, "writing settings")
    _write_settings(storage, disks, layout, seed)
    _install_loader(storage, disks, layout, args["boot_mode"], report)
    storage.unmount()
    for disk in disks:
        disk.flush()
    return {"boots_from": [disk.name for disk in disks]}


# --- finding


def _find_disks(host: Host, serials: Sequence[str]) -> list[Disk]:
    """The disks with these serial numbers; a number that two disks have says nothing of which is meant."""
    there: dict[str, list[Disk]] = {}
    for disk in host.disks():
        there.setdefault(disk.serial, []).append(disk)
    found = []
    for serial in serials:
        disks = there.get(serial, [])
        if len(disks) != 1:
            raise HostError(f"{len(disks)} disks have the serial number {serial!r}; nothing was touched.")
        found.append(disks[0])
    return found


def _device(on: str, disks: Sequence[Disk], slices: Sequence[Mapping[str, Any]]) -> Device:
    kind, _, name = on.partition(":")
    if kind != "slice":
        return Device(kind, name)
    return _slice_of(disks[0], name, slices)


def _slice_of(disk: Disk, name: str, slices: Sequence[Mapping[str, Any]]) -> Device:
    number = next(number for number, each in enumerate(slices, 1) if each["name"] == name)
    return Device("slice", name, disk, number)


# --- writing


def _open_sink(
    storage: Storage, disks: Sequence[Disk], layout: Mapping[str, Any], image_format: str, report: Report
) -> Sink:
    if layout["whole_disk"]:
        if image_format != "raw.zst":
            raise HostError(f"An image of the kind {image_format} is not that of a whole disk.")
        return storage.write_disk(disks[0])
    if image_format != "tar.zst":
        raise HostError(f"An image of the kind {image_format} cannot be unpacked into partitions.")
    slices = [Slice(each["name"], each["role"], each["size_mib"]) for each in layout["slices"]]
    for disk in disks:
        storage.divide(disk, slices)
    for array in layout["arrays"]:
        report(1, f"making the array {array['name']}")
        members = [_slice_of(disk, array["slice"], layout["slices"]) for disk in disks]
        storage.make_array(array["name"], array["level"], members)
    if layout["group_on"]:
        storage.make_group(_device(layout["group_on"], disks, layout["slices"]))
        for volume in sorted(layout["volumes"], key=lambda volume: volume["size_mib"] is None):
            storage.make_volume(volume["name"], volume["size_mib"])
    report(2, "making file systems")
    for disk in disks:
        storage.format(_slice_of(disk, "efi", layout["slices"]), "vfat", "EFI")
    for mount in layout["mounts"]:
        device = _device(mount["on"], disks, layout["slices"])
        storage.format(device, mount["fs"], device.name[:12])
    _mount(storage, disks, layout)
    return storage.unpack()


def _mount(storage: Storage, disks: Sequence[Disk], layout: Mapping[str, Any]) -> None:
    """Mount from the root outwards: the plan has them in this order."""
    for mount in layout["mounts"]:
        if mount["fs"] != "swap":
            storage.mount(_device(mount["on"], disks, layout["slices"]), mount["mount"])


def _fill(sink: Sink, download: Download, sha256: str, report: Report) -> int:
    """Write all of the image; bootable is what has the right checksum."""
    try:
        size = download.size
        for piece in download.pieces():
            sink.write(piece)
            report(2 + (PERCENT_OF_IMAGE - 2) * download.given // size, f"{download.given} of {size} bytes")
        written = sink.close()
    except BaseException:
        sink.abort()
        raise
    if download.sha256 != sha256:
        raise HostError(
            f"The image is not the right one: its SHA-256 is {download.sha256} instead of {sha256}."
        )
    sink.make_bootable()
    return written


def _abandon(storage: Storage, disks: Sequence[Disk]) -> None:
    """Leave nothing behind that looks like a system; what fails now was broken before."""
    with contextlib.suppress(HostError):
        storage.release(disks)
    for disk in disks:
        with contextlib.suppress(HostError):
            storage.clear(disk)


# --- configuring


def _write_settings(
    storage: Storage, disks: Sequence[Disk], layout: Mapping[str, Any], seed: Mapping[str, str]
) -> None:
    storage.write_file("/etc/fstab", _fstab(storage, disks, layout), 0o644)
    if lines := storage.array_lines():
        storage.write_file(
            "/etc/mdadm/mdadm.conf", "HOMEHOST <any>\n" + "".join(f"{line}\n" for line in lines), 0o644
        )
    storage.write_file("/etc/cloud/cloud.cfg.d/90-rackhand.cfg", DATASOURCES, 0o644)
    for name, content in seed.items():
        storage.write_file(f"{SEED}/{name}", content, 0o600)


def _fstab(storage: Storage, disks: Sequence[Disk], layout: Mapping[str, Any]) -> str:
    """File systems by UUID; a member whose EFI partition is gone must not keep the system from starting."""
    lines = []
    for mount in layout["mounts"]:
        uuid = storage.uuid(_device(mount["on"], disks, layout["slices"]))
        if mount["fs"] == "swap":
            lines.append(f"UUID={uuid} none swap sw 0 0")
        else:
            options = "errors=remount-ro" if mount["fs"] == "ext4" and mount["mount"] == "/" else "defaults"
            lines.append(
                f"UUID={uuid} {mount['mount']} {mount['fs']} {options} 0 {1 if mount['mount'] == '/' else 2}"
            )
    efi = storage.uuid(_slice_of(disks[0], "efi", layout["slices"]))
    lines.append(f"UUID={efi} /boot/efi vfat umask=0077,nofail,x-systemd.device-timeout=5s 0 0")
    return "".join(f"{line}\n" for line in lines)


def _install_loader(
    storage: Storage, disks: Sequence[Disk], layout: Mapping[str, Any], boot_mode: str, report: Report
) -> None:
    """Have every disk start the system, by either firmware when the system can.

    A boot over the network may run in another mode than the one that the firmware starts disks in, so the mode of this
    boot says only which loader must not be missing.
    """
    other = "bios" if boot_mode == "uefi" else "uefi"
    modes = [boot_mode, other] if storage.has_loader(other) else [boot_mode]
    for number, disk in enumerate(disks):
        report(20 + 40 * number // len(disks), f"making {disk.name} bootable")
        for mode in modes:
            if mode == "uefi":
                storage.install_efi_loader(_slice_of(disk, "efi", layout["slices"]))
            else:
                storage.install_bios_loader(disk)
    report(60, "making the boot menu")
    storage.finish_boot()
