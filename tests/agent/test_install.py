"""The agent writes systems onto simulated disks; what firmware, boot loader and kernel then find decides."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from rackhand.agent.commands import Outcome, Report, execute
from rackhand.agent.protocol import Command
from rackhand.deploy.layout import DiskFact, PartitionWish, RaidLevel, plan_layout, plan_whole_disk
from rackhand.sim.config import BootMode
from rackhand.sim.host import LostPower
from rackhand.sim.images import disk_image, tar_image
from rackhand.sim.system import NotBootable, find_system
from tests.agent.machines import FileServer, Iron, serving

SYSTEM = "Example Linux 12"
SEED = {"meta-data": '{"instance-id": "one"}', "user-data": "#cloud-config\n{}", "network-config": "{}"}


class Told(Report):
    """What the agent told on the way."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, percent: int | None, message: str) -> None:  # noqa: ARG002  # the signature is given
        self.words.append(message)

    def note(self, words: str) -> None:
        self.words.append(words)


@pytest.fixture
def files() -> Iterator[FileServer]:
    with serving(tar_image(SYSTEM)) as server:
        yield server


def facts(iron: Iron) -> list[DiskFact]:
    return [DiskFact(disk.serial, disk.kind, disk.size_bytes, disk.name) for disk in iron.host.disks()]


def write(iron: Iron, files: FileServer, layout: dict[str, Any], **changes: Any) -> Outcome:
    image = {
        "url": files.url,
        "size": len(files.content),
        "sha256": hashlib.sha256(files.content).hexdigest(),
        "format": "raw.zst" if layout["whole_disk"] else "tar.zst",
        **changes,
    }
    return execute(iron.host, Command("1.w.1", "write_image", {"layout": layout, "image": image}), Told())


def configure(iron: Iron, layout: dict[str, Any]) -> Outcome:
    mode = "uefi" if iron.mode is BootMode.UEFI else "bios"
    args = {"layout": layout, "boot_mode": mode, "seed": SEED}
    return execute(iron.host, Command("1.c.1", "configure_system", args), Told())


def install(iron: Iron, files: FileServer, level: RaidLevel = RaidLevel.NONE, **more: Any) -> dict[str, Any]:
    layout = plan_layout(facts(iron), level=level, **more).as_json()
    for outcome in (write(iron, files, layout), configure(iron, layout)):
        assert outcome.ok, outcome.error
    return layout


@pytest.mark.parametrize("mode", BootMode)
@pytest.mark.parametrize(
    ("level", "disks", "may_miss"),
    [
        (RaidLevel.NONE, 1, 0), (RaidLevel.RAID0, 2, 0), (RaidLevel.RAID1, 2, 1), (RaidLevel.RAID5, 3, 1),
        (RaidLevel.RAID6, 4, 2), (RaidLevel.RAID10, 4, 1),
    ],
)  # fmt: skip
def test_a_system_starts_from_every_disk_that_its_level_needs(
    files: FileServer, mode: BootMode, level: RaidLevel, disks: int, may_miss: int
) -> None:
    iron = Iron(disks, mode=mode)
    install(iron, files, level)
    for missing in range(may_miss + 1):
        system = find_system(iron.media[missing:], mode)
        assert system is not None
        assert system.name == SYSTEM
    if may_miss + 1 < disks or level is RaidLevel.RAID0:
        with pytest.raises(NotBootable, match="members"):
            find_system(iron.media[may_miss + 1 :], mode)


@pytest.mark.parametrize("level", [RaidLevel.NONE, RaidLevel.RAID5])
def test_volumes_hold_the_system_where_they_are_asked_for(files: FileServer, level: RaidLevel) -> None:
    iron = Iron(3)
    wishes = (
        PartitionWish(mount="/"),
        PartitionWish(mount="/var", size_mib=2048),
        PartitionWish.model_validate({"mount": "swap", "fs": "swap", "size_mib": 512}),
    )
    layout = install(iron, files, level, wishes=wishes, lvm=True)
    assert [volume["name"] for volume in layout["volumes"]] == ["var", "swap", "root"]
    system = find_system(iron.media, iron.mode)
    assert system is not None
    fstab = system.root.text("/etc/fstab") or ""
    assert [line.split()[1] for line in fstab.splitlines()] == ["/", "/boot", "/var", "none", "/boot/efi"]
    assert len({line.split()[0] for line in fstab.splitlines()}) == 5


def test_an_image_that_breaks_off_goes_on_where_it_stopped(files: FileServer) -> None:
    iron = Iron()
    files.cuts = [100, 50]
    install(iron, files)
    assert files.asked == [None, None, "bytes=100-", "bytes=150-"]
    assert find_system(iron.media, iron.mode) is not None


def test_a_wrong_checksum_leaves_nothing_that_starts(files: FileServer) -> None:
    iron = Iron(1)
    layout = plan_layout(facts(iron)).as_json()
    outcome = write(iron, files, layout, sha256="0" * 64)
    assert not outcome.ok
    assert "not the right one" in (outcome.error or "")
    with pytest.raises(NotBootable, match="empty"):
        find_system(iron.media, iron.mode)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"size": 7}, 200, "another image"),
        ({}, 404, "HTTP 404"),
        ({"url": "ftp://example.com/x"}, 200, "http://host:port"),
    ],
)
def test_an_image_that_is_not_there_is_seen_before_a_disk_is_touched(
    files: FileServer, changes: dict[str, Any], status: int, words: str
) -> None:
    iron = Iron()
    files.status = status
    outcome = write(iron, files, plan_layout(facts(iron)).as_json(), **changes)
    assert words in (outcome.error or "")
    assert iron.actions() == []


def test_a_machine_without_the_disks_of_the_plan_is_not_touched(files: FileServer) -> None:
    iron, other = Iron(2), Iron(4)
    layout = plan_layout(facts(other), level=RaidLevel.RAID10).as_json()
    outcome = write(iron, files, layout)
    assert "0 disks have the serial number 'S2'; nothing was touched." in (outcome.error or "")
    assert iron.actions() == []


def test_half_an_image_that_is_no_zstd_is_an_error_and_no_system(files: FileServer) -> None:
    iron = Iron(1)
    files.content = files.content[:60] + bytes(60)
    layout = plan_layout(facts(iron)).as_json()
    outcome = write(iron, files, layout)
    assert not outcome.ok
    assert iron.actions()[-1] == "disk_cleared"


def test_a_system_without_a_boot_loader_is_refused_when_it_is_made_bootable() -> None:
    with serving(tar_image(SYSTEM, without="usr/lib/grub/x86_64-efi")) as files:
        iron = Iron(1)
        layout = plan_layout(facts(iron)).as_json()
        assert write(iron, files, layout).ok
        outcome = configure(iron, layout)
    assert outcome.error == "The system has no GRUB for uefi."


def test_a_system_starts_by_the_other_firmware_too(files: FileServer) -> None:
    """The mode of a boot over the network says little of the mode in which the firmware starts disks."""
    iron = Iron(2, mode=BootMode.UEFI)
    install(iron, files, RaidLevel.RAID1)
    for mode in BootMode:
        assert find_system(iron.media[1:], mode) is not None


def test_configuring_is_done_again_after_a_restart_of_the_ramdisk(files: FileServer) -> None:
    iron = Iron(2)
    layout = plan_layout(facts(iron), level=RaidLevel.RAID1).as_json()
    assert write(iron, files, layout).ok
    iron.dead.set()
    iron.host = iron.boot()
    assert configure(iron, layout).ok
    assert find_system(iron.media, iron.mode) is not None


def test_power_that_is_lost_while_an_image_is_written_leaves_no_system(files: FileServer) -> None:
    iron = Iron(1)
    layout = plan_layout(facts(iron)).as_json()
    files.content = tar_image(SYSTEM)
    unpack = iron.host.storage().unpack

    def unpack_and_die() -> Any:
        iron.dead.set()
        return unpack()

    iron.host.storage().unpack = unpack_and_die  # type: ignore[method-assign]  # the moment of the power cut
    with pytest.raises(LostPower):
        write(iron, files, layout)
    with pytest.raises(NotBootable, match="no boot loader"):
        find_system(iron.media, iron.mode)


@pytest.mark.parametrize("mode", BootMode)
def test_the_image_of_a_disk_starts_and_finds_its_settings(mode: BootMode) -> None:
    from backports import zstd

    with serving(zstd.compress(disk_image(SYSTEM))) as files:
        iron = Iron(1, mode=mode)
        layout = plan_whole_disk(facts(iron), image_mib=16).as_json()
        assert write(iron, files, layout).ok
        assert configure(iron, layout).ok
        assert configure(iron, layout).ok  # twice is once
    system = find_system(iron.media, mode)
    assert system is not None
    assert system.seed() == SEED
    assert [tree.label for tree in system.trees].count("CIDATA") == 1


def test_the_image_of_a_disk_is_not_bootable_before_its_checksum_is_right() -> None:
    from backports import zstd

    with serving(zstd.compress(disk_image(SYSTEM))) as files:
        iron = Iron(1)
        layout = plan_whole_disk(facts(iron), image_mib=16).as_json()
        outcome = write(iron, files, layout, sha256="0" * 64)
    assert not outcome.ok
    with pytest.raises(NotBootable, match="empty"):
        find_system(iron.media, iron.mode)


def test_an_old_system_is_gone_when_a_new_one_is_written(files: FileServer) -> None:
    iron = Iron(2)
    install(iron, files, RaidLevel.RAID1)
    files.content = tar_image("Another 1")
    install(iron, files)
    system = find_system(iron.media, iron.mode)
    assert system is not None
    assert system.name == "Another 1"
