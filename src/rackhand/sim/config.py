"""What a rack consists of: values that a rack is started from, never changed while it runs."""

import uuid
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

SERIAL_NAMESPACE = uuid.UUID("6f6f0e0c-7d43-5b6e-9b0e-3b0f5f1a2c11")


class BmcKind(StrEnum):
    """Protocol that a machine's BMC speaks; with none there is no BMC."""

    IPMI = "ipmi"
    REDFISH = "redfish"
    NONE = "none"


class BootMode(StrEnum):
    """Firmware flavour."""

    LEGACY = "legacy"
    UEFI = "uefi"


class DiskKind(StrEnum):
    """What a disk is."""

    HDD = "hdd"
    SSD = "ssd"
    NVME = "nvme"


class RestorePolicy(StrEnum):
    """What a machine does when mains power comes back, in IPMI's words."""

    ALWAYS_OFF = "always-off"
    PREVIOUS = "previous"
    ALWAYS_ON = "always-on"


class Privilege(IntEnum):
    """Privilege levels of IPMI 2.0, table 22-21; Redfish roles map to them."""

    CALLBACK = 1
    USER = 2
    OPERATOR = 3
    ADMIN = 4


@dataclass(frozen=True)
class NicConfig:
    """A network port: *mac* in lower case with colons, *speed_mbit* of the link."""

    name: str
    mac: str
    speed_mbit: int = 1000


@dataclass(frozen=True)
class DiskConfig:
    """A drive; *size_bytes* as the label says, decimal."""

    name: str
    kind: DiskKind
    size_bytes: int
    serial: str
    model: str


@dataclass(frozen=True)
class BmcUser:
    """An account of a BMC. IPMI allows 16 bytes of name and 20 of password."""

    name: str
    password: str = field(repr=False)
    privilege: Privilege


@dataclass(frozen=True)
class BmcConfig:
    """A BMC: where it listens (an IPv4 address; port 0 lets the system choose) and who may sign in.

    *system_id* is the id of the one system under `/redfish/v1/Systems`: vendors differ, a client must look.
    """

    kind: BmcKind
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    mac: str
    more_users: tuple[BmcUser, ...] = ()
    system_id: str = "1"

    @property
    def users(self) -> tuple[BmcUser, ...]:
        """All accounts; the first is the administrator."""
        return (BmcUser(self.user, self.password, Privilege.ADMIN), *self.more_users)


# Of a machine that only its outlets switch; its restore policy must be to come on.
NO_BMC = BmcConfig(kind=BmcKind.NONE, host="", port=0, user="", password="", mac="")


@dataclass(frozen=True)
class MachineConfig:
    """A server: what it is, where it stands, and how long its firmware and systems take (simulated seconds).

    *unit* is the lowest rack unit that it occupies, *height* the number of units. A machine that is *network_first*
    asks the network at every boot before it starts the disk.
    """

    name: str
    serial: str
    manufacturer: str
    model: str
    configuration: str
    cpu: str
    cpus: int
    cores: int
    memory_gib: int
    bmc: BmcConfig
    nics: tuple[NicConfig, ...]
    disks: tuple[DiskConfig, ...]
    rack: str
    unit: int
    height: int = 1
    boot_mode: BootMode = BootMode.UEFI
    network_first: bool = False
    feeds: tuple[str, ...] = ("a", "b")
    restore_policy: RestorePolicy = RestorePolicy.PREVIOUS
    starts_on: bool = False
    post_seconds: float = 90.0
    ramdisk_seconds: float = 40.0
    system_seconds: float = 30.0
    soft_off_seconds: float = 20.0
    cycle_seconds: float = 5.0
    bmc_boot_seconds: float = 45.0
    idle_watts: int = 95
    seed: int = 0

    @property
    def uuid(self) -> uuid.UUID:
        """The system UUID, made from the serial number so that it stays the same."""
        return uuid.uuid5(SERIAL_NAMESPACE, self.serial)


class AuthProtocol(StrEnum):
    """Hash of an SNMPv3 user, in net-snmp's words."""

    SHA = "SHA"
    SHA_256 = "SHA-256"
    SHA_512 = "SHA-512"


@dataclass(frozen=True)
class SnmpUser:
    """An SNMPv3 user that signs and encrypts (AES-128); it may write. Both pass phrases: 8 characters or more."""

    name: str
    auth_password: str = field(repr=False)
    privacy_password: str = field(repr=False)
    auth: AuthProtocol = AuthProtocol.SHA


@dataclass(frozen=True)
class SnmpConfig:
    """Where an SNMP agent listens (an IPv4 address; port 0 lets the system choose) and who may ask it."""

    host: str
    port: int
    read_community: str = field(repr=False)
    write_community: str = field(repr=False)
    user: SnmpUser | None = None


@dataclass(frozen=True)
class VlanConfig:
    """A VLAN that a switch starts with, and the ports that are in it; a port that is in none is in VLAN 1."""

    id: int
    name: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class SwitchConfig:
    """A switch: *ports* are numbered from 1 as they are labelled; *counter_bits* is 32 or 64."""

    name: str
    snmp: SnmpConfig
    model: str
    mac: str
    rack: str
    unit: int
    ports: int = 24
    speed_mbit: int = 1000
    counter_bits: int = 64
    vlans: tuple[VlanConfig, ...] = ()


class PduKind(StrEnum):
    """The MIB that a PDU speaks."""

    APC_RPDU2 = "apc_rpdu2"
    APC_RPDU = "apc_rpdu"
    RARITAN = "raritan"
    EATON = "eaton"
    VERTIV = "vertiv"


@dataclass(frozen=True)
class OutletConfig:
    """An outlet: its name, and the feed of a machine that is plugged in, if any."""

    name: str
    machine: str | None = None
    feed: str | None = None


@dataclass(frozen=True)
class PduConfig:
    """A PDU that hangs in *rack* and takes no unit; outlets count from 1. All outlets start on.

    A reboot of an outlet keeps it off for *reboot_seconds*, simulated.
    """

    name: str
    snmp: SnmpConfig
    kind: PduKind
    mac: str
    rack: str
    outlets: tuple[OutletConfig, ...]
    reboot_seconds: float = 5.0


BMC_PLUG = "bmc"
PDU_PLUG = "mgmt"


@dataclass(frozen=True)
class CableConfig:
    """A cable from *port* of *switch* to a plug of *device*.

    The plug is the name of a machine's NIC, or `bmc`, or `mgmt` of a PDU.
    """

    switch: str
    port: int
    device: str
    plug: str


@dataclass(frozen=True)
class CabinetConfig:
    """A rack in the sense of furniture: its name and how many units it has."""

    name: str
    units: int = 42


@dataclass(frozen=True)
class RackConfig:
    """Everything that one process simulates.

    *time_scale* is simulated seconds per real second; *tls* puts Redfish behind a self-signed certificate.
    *boot_url* is the boot server of the network, empty when there is none; its machines reach it in
    *provisioning_vlan*, or in any VLAN.
    """

    machines: tuple[MachineConfig, ...]
    racks: tuple[CabinetConfig, ...]
    switches: tuple[SwitchConfig, ...] = ()
    pdus: tuple[PduConfig, ...] = ()
    cables: tuple[CableConfig, ...] = ()
    control_host: str = "127.0.0.1"
    control_port: int = 0
    time_scale: float = 1.0
    tls: bool = False
    boot_url: str = ""
    provisioning_vlan: int | None = None

    def machine(self, name: str) -> MachineConfig:
        """Return the machine called *name*; KeyError when there is none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise KeyError(name)

    def switch(self, name: str) -> SwitchConfig:
        """Return the switch called *name*; KeyError when there is none."""
        for switch in self.switches:
            if switch.name == name:
                return switch
        raise KeyError(name)

    def pdu(self, name: str) -> PduConfig:
        """Return the PDU called *name*; KeyError when there is none."""
        for pdu in self.pdus:
            if pdu.name == name:
                return pdu
        raise KeyError(name)
