"""What programs and the kernel print, read; the texts are as such programs write them."""

from rackhand.agent import linux, linux_bmc, linux_disks, lldp
from rackhand.agent.host import Cpu, EraseMethod, EraseState, HiddenArea, MemoryModule, Neighbour, Smart

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) E-2146G CPU @ 3.50GHz
cpu MHz\t\t: 3500.000
physical id\t: 0
siblings\t: 12
cpu cores\t: 6

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) E-2146G CPU @ 3.50GHz
cpu MHz\t\t: 3500.000
physical id\t: 0
siblings\t: 12
cpu cores\t: 6

processor\t: 2
model name\t: Intel(R) Xeon(R) E-2146G CPU @ 3.50GHz
physical id\t: 1
siblings\t: 12
cpu cores\t: 6
"""

DMI_17 = """# dmidecode 3.4
Getting SMBIOS data from sysfs.
SMBIOS 3.2.0 present.

Handle 0x0043, DMI type 17, 84 bytes
Memory Device
\tArray Handle: 0x0042
\tTotal Width: 72 bits
\tSize: 32 GB
\tForm Factor: DIMM
\tLocator: DIMMA1
\tBank Locator: P0_Node0_Channel0_Dimm0
\tType: DDR4
\tSpeed: 3200 MT/s
\tManufacturer: Example
\tSerial Number: 12345678
\tPart Number: EX-32G
\tConfigured Memory Speed: 2933 MT/s

Handle 0x0044, DMI type 17, 84 bytes
Memory Device
\tSize: No Module Installed
\tLocator: DIMMA2

Handle 0x0045, DMI type 17, 84 bytes
Memory Device
\tSize: 16384 MB
\tLocator: DIMMB1
\tType: DDR4
\tManufacturer: Not Specified
\tSerial Number: To Be Filled By O.E.M.
"""

HDPARM = """
/dev/sda:

ATA device, with non-removable media
Commands/features:
\tEnabled\tSupported:
\t   *\tSMART feature set
\t   *\tSANITIZE feature set
\t   *\tCRYPTO_SCRAMBLE_EXT command
\t   *\tBLOCK_ERASE_EXT command
Security:
\tMaster password revision code = 65534
\t\tsupported
\tnot\tenabled
\tnot\tlocked
\tnot\tfrozen
\tnot\texpired: security count
\t\tsupported: enhanced erase
\t4min for SECURITY ERASE UNIT. 4min for ENHANCED SECURITY ERASE UNIT.
Checksum: correct
"""


def test_processors_are_counted_by_package() -> None:
    model = "Intel(R) Xeon(R) E-2146G CPU @ 3.50GHz"
    assert linux.parse_cpuinfo(CPUINFO) == [Cpu(model, 6, 12, 3500), Cpu(model, 6, 12, None)]


def test_memory_modules_are_read_and_empty_slots_left_out() -> None:
    assert linux.parse_memory(DMI_17) == [
        MemoryModule("DIMMA1", 32768, "DDR4", 2933, "Example", "EX-32G", "12345678"),
        MemoryModule("DIMMB1", 16384, "DDR4", None, "", "", ""),
    ]


def test_what_nobody_has_filled_in_is_empty() -> None:
    for text in ("To Be Filled By O.E.M.", "Default string", "Not Specified", "None", "0000000", "0123456789",
                 "System Serial Number", "xxxxxx"):  # fmt: skip
        assert linux.PLACEHOLDERS.fullmatch(text), text
    for text in ("SC-4436", "RV00001", "100200300", "OEM-7"):
        assert not linux.PLACEHOLDERS.fullmatch(text), text


def test_the_bmc_is_read() -> None:
    info = "Device ID                 : 32\nFirmware Revision         : 1.20\nManufacturer Name         : Example\n"
    lan = "IP Address Source       : Static\nIP Address              : 192.0.2.9\nMAC Address : 02:BC:00:00:00:01\n"
    found = linux_bmc.parse_bmc(info, lan)
    assert (found.address, found.mac, found.firmware) == ("192.0.2.9", "02:bc:00:00:00:01", "1.20")
    assert linux_bmc.parse_bmc(info, "IP Address : 0.0.0.0\n").address == ""


def test_interfaces_are_in_the_order_that_people_count() -> None:
    assert sorted(["eth10", "eth2", "enp1s0"], key=linux._natural) == ["enp1s0", "eth2", "eth10"]


def test_drives_are_told_from_what_else_is_a_block_device() -> None:
    rows = [
        {"name": "sda", "type": "disk", "size": 480103981056, "rota": False, "tran": "sata", "rm": False},
        {"name": "sdb", "type": "disk", "size": 12000138625024, "rota": True, "tran": "sas", "rm": False},
        {
            "name": "nvme0n1",
            "type": "disk",
            "size": 1920383410176,
            "rota": False,
            "tran": "nvme",
            "rm": False,
        },
        {"name": "sdc", "type": "disk", "size": 16008609792, "rota": True, "tran": "usb", "rm": True},
        {"name": "sdd", "type": "disk", "size": 0, "rota": True, "tran": None, "rm": False},
        {"name": "sr0", "type": "rom", "size": 1073741312, "rota": True, "tran": "sata", "rm": True},
        {"name": "loop0", "type": "loop", "size": 4096, "rota": False, "tran": None, "rm": False},
        {"name": "zram0", "type": "disk", "size": 4096, "rota": False, "tran": None, "rm": False},
    ]
    disks = [linux_disks.make_disk(row) for row in rows if linux_disks.is_drive(row)]
    assert [(disk.name, disk.kind, type(disk).__name__) for disk in disks] == [
        ("sda", "SSD", "AtaDisk"),
        ("sdb", "HDD", "ScsiDisk"),
        ("nvme0n1", "NVMe", "NvmeDisk"),
    ]


def test_what_an_ata_drive_can_do_is_what_it_says() -> None:
    assert linux_disks.ata_methods(HDPARM) == [
        EraseMethod.ATA_SANITIZE_CRYPTO,
        EraseMethod.ATA_SANITIZE_BLOCK,
        EraseMethod.ATA_SECURE_ERASE_ENHANCED,
        EraseMethod.ATA_SECURE_ERASE,
    ]
    frozen = HDPARM.replace("not\tfrozen", "\tfrozen").replace("   *\tSANITIZE", "    \tSANITIZE")
    assert linux_disks.ata_methods(frozen) == []


def test_what_an_ata_drive_hides_is_found() -> None:
    shown = "\n/dev/sda:\n max sectors   = 78125000/78165360, HPA is enabled\n"
    overlay = (
        "\n/dev/sda:\nDCO Revision: 0x0001\nThe following features can be selectively disabled via DCO:\n"
    )
    assert linux_disks.ata_hidden_areas(shown, overlay) == [HiddenArea("HPA", 512 * 40360)]
    real = overlay + "\tReal max sectors: 78200000\n"
    assert linux_disks.ata_hidden_areas(shown.replace("78125000", "78165360"), real) == [
        HiddenArea("DCO", 512 * (78200000 - 78165360))
    ]
    assert linux_disks.ata_native_sectors(shown) == 78165360


def test_the_end_of_an_ata_sanitize_is_what_the_drive_says() -> None:
    head = "\n/dev/sda:\nIssuing SANITIZE_STATUS command\nSanitize status:\n"
    assert linux_disks.ata_sanitize_state(
        head + "    State:    SD2 Sanitize operation In Process\n    Progress: 0x41c2 (25%)\n"
    ) == EraseState(is_over=False, percent=25)
    done = head + "    State:    SD0 Sanitize Idle\n    Last Sanitize Operation Completed Without Error\n"
    assert linux_disks.ata_sanitize_state(done) == EraseState(is_over=True, percent=100)
    assert linux_disks.ata_sanitize_state(head + "    State:    SD0 Sanitize Idle\n").error
    assert linux_disks.ata_sanitize_state(head + "    State:    SD3 Sanitize Operation Failed\n").error


def test_what_an_nvme_controller_can_do_is_in_three_fields() -> None:
    assert linux_disks.nvme_methods({"sanicap": 3, "fna": 4, "oacs": 0x5E}) == [
        EraseMethod.NVME_SANITIZE_CRYPTO,
        EraseMethod.NVME_SANITIZE_BLOCK,
        EraseMethod.NVME_FORMAT_CRYPTO,
        EraseMethod.NVME_FORMAT,
    ]
    assert linux_disks.nvme_methods({"sanicap": 0, "fna": 0, "oacs": 2}) == [EraseMethod.NVME_FORMAT]
    assert linux_disks.nvme_methods({"sanicap": 0, "fna": 4, "oacs": 0}) == []


def test_the_end_of_an_nvme_sanitize_is_what_its_log_says() -> None:
    def log(status: object, progress: int = 65535) -> dict[str, object]:
        return {"nvme0": {"sprog": progress, "sstat": status}}

    running = {"global_erased": 0, "no_cmplted_passes": 0, "status": "(2) Sanitize in Progress."}
    assert linux_disks.nvme_sanitize_state(log(running, 32768)) == EraseState(is_over=False, percent=50)
    done = {
        "global_erased": 1,
        "no_cmplted_passes": 0,
        "status": "(1) Most Recent Sanitize Command Completed.",
    }
    assert linux_disks.nvme_sanitize_state(log(done)) == EraseState(is_over=True, percent=100)
    named = {"global_erased": 0, "no_cmplted_passes": 1, "Most Recent Sanitize": "(3) Most Recent Sanitize"}
    assert "failed" in str(linux_disks.nvme_sanitize_state(log(named)).error)
    assert linux_disks.nvme_sanitize_state(log(257)) == EraseState(is_over=True, percent=100)
    assert "no sanitize" in str(linux_disks.nvme_sanitize_state(log(0)).error)


def test_what_a_scsi_drive_can_do_is_asked_of_it() -> None:
    assert linux_disks.scsi_supports(
        "  Opcode=0x48 sa=0x2\n  Command supported [conforming to SCSI standard]\n"
    )
    assert not linux_disks.scsi_supports("  Opcode=0x48 sa=0x3\n  Command not supported\n")
    assert not linux_disks.scsi_supports("Report Supported Operation Codes operation not supported\n")


def test_health_is_read_of_all_kinds_of_drives() -> None:
    ata = {
        "smart_status": {"passed": True},
        "power_on_time": {"hours": 9000},
        "temperature": {"current": 31},
        "ata_smart_attributes": {
            "table": [
                {"id": 5, "raw": {"value": 3}},
                {"id": 197, "raw": {"value": 2}},
                {"id": 9, "raw": {"value": 1}},
            ]
        },
    }
    assert linux_disks.parse_smart(ata) == Smart(True, 9000, 31, 5, None, None)
    nvme = {
        "smart_status": {"passed": False},
        "nvme_smart_health_information_log": {"media_errors": 7, "percentage_used": 101},
    }
    assert linux_disks.parse_smart(nvme) == Smart(False, None, None, None, 7, 101)
    assert linux_disks.parse_smart({"scsi_grown_defect_list": 12}) == Smart(bad_sectors=12)


def tlv(kind: int, value: bytes) -> bytes:
    return (kind << 9 | len(value)).to_bytes(2, "big") + value


def test_a_neighbour_is_read_from_its_frame() -> None:
    frame = (
        tlv(1, b"\x04" + bytes.fromhex("025c00000001"))
        + tlv(2, b"\x05Ethernet1/7")
        + tlv(3, b"\x00\x78")
        + tlv(5, b"sw-1.example.com")
        + tlv(0, b"")
    )
    expected = Neighbour("eth0", "02:5c:00:00:00:01", "Ethernet1/7", "sw-1.example.com")
    assert lldp.parse("eth0", frame) == expected
    for end in range(len(frame)):  # whatever is cut off, it is no accident
        lldp.parse("eth0", frame[:end])
    assert lldp.parse("eth0", b"\xff" * 40) is None
