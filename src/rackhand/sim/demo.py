"""A rack to look at: machines of three configurations in two cabinets or more, with IPMI and Redfish BMCs."""

from dataclasses import dataclass
from typing import Final

from rackhand.sim.config import (
    BMC_PLUG,
    PDU_PLUG,
    BmcConfig,
    BmcKind,
    BmcUser,
    BootMode,
    CabinetConfig,
    CableConfig,
    DiskConfig,
    DiskKind,
    MachineConfig,
    NicConfig,
    OutletConfig,
    PduConfig,
    PduKind,
    Privilege,
    RackConfig,
    SnmpConfig,
    SnmpUser,
    SwitchConfig,
    VlanConfig,
)

CABINET_UNITS = 42
MACHINES_PER_CABINET = 28  # of which a third may be two units high; the rest is for switches and PDUs
DOCUMENTATION_MACS = 256  # 00:00:5E:00:53:00 to FF, RFC 7042 section 2.1.2
SWITCH_PORTS = 24  # a big cabinet gets a switch of a multiple of it
PDU_OUTLETS = 24  # a big cabinet gets PDUs with as many as it needs
FEEDS = ("a", "b")
PROVISIONING_VLAN, CUSTOMER_VLAN, MANAGEMENT_VLAN = 10, 20, 30
GB = 1_000_000_000


@dataclass(frozen=True)
class Configuration:
    """A kind of server that a hosting company sells; *disks* are kind, size in GB and how many."""

    name: str
    manufacturer: str
    model: str
    cpu: str
    cpus: int
    cores: int
    memory_gib: int
    nics: int
    nic_mbit: int
    disks: tuple[DiskKind, int, int]
    disk_model: str
    boot_mode: BootMode
    system_id: str
    height: int
    post_seconds: float
    idle_watts: int


CONFIGURATIONS: Final = (
    Configuration(
        name="c1-small",
        manufacturer="Example Systems",
        model="ES-1100",
        cpu="Xeon E-2336",
        cpus=1,
        cores=6,
        memory_gib=32,
        nics=2,
        nic_mbit=1_000,
        disks=(DiskKind.SSD, 480, 2),
        disk_model="EX-SSD480",
        boot_mode=BootMode.LEGACY,
        system_id="1",
        height=1,
        post_seconds=60,
        idle_watts=48,
    ),
    Configuration(
        name="c2-medium",
        manufacturer="Example Systems",
        model="ES-2200",
        cpu="EPYC 7313P",
        cpus=1,
        cores=16,
        memory_gib=128,
        nics=2,
        nic_mbit=10_000,
        disks=(DiskKind.NVME, 1_920, 2),
        disk_model="EX-NVME1920",
        boot_mode=BootMode.UEFI,
        system_id="System.Embedded.1",
        height=1,
        post_seconds=90,
        idle_watts=96,
    ),
    Configuration(
        name="c3-storage",
        manufacturer="Sample Computers",
        model="SC-4436",
        cpu="Xeon Silver 4314",
        cpus=2,
        cores=32,
        memory_gib=256,
        nics=2,
        nic_mbit=10_000,
        disks=(DiskKind.HDD, 12_000, 4),
        disk_model="EX-HDD12T",
        boot_mode=BootMode.UEFI,
        system_id="Self",
        height=2,
        post_seconds=150,
        idle_watts=180,
    ),
)


def demo_rack(
    count: int = 12,
    *,
    host: str = "127.0.0.1",
    base_port: int = 0,
    control_port: int = 0,
    time_scale: float = 1.0,
    tls: bool = False,
    password: str | None = None,
    cabinets: int | None = None,
) -> RackConfig:
    """Return a rack of *count* machines, called `node-001` and so on; equal arguments give an equal rack.

    Of every two machines the first speaks IPMI, the second Redfish. Pairs take turns in configuration and
    cabinet. Each cabinet has a switch, `sw-1` and so on: NICs from port 1 on, in VLAN 1, then BMCs and PDUs in
    the management VLAN. It has two PDUs, `pdu-1a` for the feeds a and `pdu-1b` for the feeds b. BMCs listen on
    *base_port* and the ports after it, switches and then PDUs on those that follow, or all on free ports when
    it is 0. With *cabinets* there are so many, else as few as hold the machines. Each BMC has its own
    password, `bmc-` and the serial number, unless one is given for all; each also has a user `viewer` that may
    only look. Switches and PDUs have communities, `read-` and `write-` and their name, and an SNMPv3 user.
    """
    wanted = max(2, -(-count // MACHINES_PER_CABINET)) if cabinets is None else cabinets
    racks = [CabinetConfig(f"rack-{number + 1}", CABINET_UNITS) for number in range(wanted)]
    next_unit = [1] * len(racks)
    macs = _Macs()
    machines = []
    for index in range(count):
        configuration = CONFIGURATIONS[index // 2 % len(CONFIGURATIONS)]
        place = index // 2 % len(racks)
        serial = f"RV{index + 1:05d}"
        bmc = BmcConfig(
            kind=BmcKind.REDFISH if index % 2 else BmcKind.IPMI,
            host=host,
            port=base_port + index if base_port else 0,
            user="admin",
            password=f"bmc-{serial}" if password is None else password,
            mac=_local_mac(0xBC, index),
            more_users=(BmcUser("viewer", f"view-{serial}", Privilege.USER),),
            system_id=configuration.system_id,
        )
        nics = tuple(
            NicConfig(f"eth{number}", macs.take(), configuration.nic_mbit)
            for number in range(configuration.nics)
        )
        machines.append(
            MachineConfig(
                name=f"node-{index + 1:03d}",
                serial=serial,
                manufacturer=configuration.manufacturer,
                model=configuration.model,
                configuration=configuration.name,
                cpu=configuration.cpu,
                cpus=configuration.cpus,
                cores=configuration.cores,
                memory_gib=configuration.memory_gib,
                bmc=bmc,
                nics=nics,
                disks=_disks(configuration, serial),
                rack=racks[place].name,
                unit=next_unit[place],
                height=configuration.height,
                boot_mode=configuration.boot_mode,
                post_seconds=configuration.post_seconds,
                idle_watts=configuration.idle_watts,
            )
        )
        next_unit[place] += configuration.height
    cables = _cables(machines, racks)
    switches = [
        _switch(
            index,
            cabinet,
            [cable for cable in cables if cable.switch == f"sw-{index + 1}"],
            host=host,
            port=base_port + count + index if base_port else 0,
        )
        for index, cabinet in enumerate(racks)
    ]
    first_pdu_port = base_port + count + len(racks)
    pdus = [
        _pdu(index, cabinet, machines, host=host, port=first_pdu_port + index if base_port else 0)
        for index, cabinet in enumerate(cabinet for cabinet in racks for _feed in FEEDS)
    ]
    return RackConfig(
        machines=tuple(machines),
        racks=tuple(racks),
        switches=tuple(switches),
        pdus=tuple(pdus),
        cables=tuple(cables),
        control_host=host,
        control_port=control_port,
        time_scale=time_scale,
        tls=tls,
    )


def _cables(machines: list[MachineConfig], cabinets: list[CabinetConfig]) -> list[CableConfig]:
    """Plug in all NICs, then all BMCs, then all PDUs, each into the switch of its cabinet."""
    plugs = [(machine.rack, machine.name, nic.name) for machine in machines for nic in machine.nics]
    plugs += [(machine.rack, machine.name, BMC_PLUG) for machine in machines]
    plugs += [
        (cabinet.name, f"pdu-{number}{feed}", PDU_PLUG)
        for number, cabinet in enumerate(cabinets, 1)
        for feed in FEEDS
    ]
    taken: dict[str, int] = {}
    cables = []
    for cabinet, device, plug in plugs:
        switch = cabinet.replace("rack", "sw")
        taken[switch] = taken.get(switch, 0) + 1
        cables.append(CableConfig(switch, taken[switch], device, plug))
    return cables


def _pdu(
    index: int, cabinet: CabinetConfig, machines: list[MachineConfig], *, host: str, port: int
) -> PduConfig:
    feed = FEEDS[index % len(FEEDS)]
    name = f"pdu-{index // len(FEEDS) + 1}{feed}"
    fed = [machine.name for machine in machines if machine.rack == cabinet.name]
    spare = max(PDU_OUTLETS - len(fed), 0)
    return PduConfig(
        name=name,
        snmp=SnmpConfig(
            host=host,
            port=port,
            read_community=f"read-{name}",
            write_community=f"write-{name}",
            user=SnmpUser("rackhand", f"auth-{name}-secret", f"priv-{name}-secret"),
        ),
        kind=PduKind.APC_RPDU2,
        mac=_local_mac(0xD0, index),
        rack=cabinet.name,
        outlets=(
            *(OutletConfig(machine, machine, feed) for machine in fed),
            *(OutletConfig(f"spare-{number + 1}") for number in range(spare)),
        ),
    )


def _switch(
    index: int, cabinet: CabinetConfig, cables: list[CableConfig], *, host: str, port: int
) -> SwitchConfig:
    name = f"sw-{index + 1}"
    management = tuple(cable.port for cable in cables if cable.plug in {BMC_PLUG, PDU_PLUG})
    return SwitchConfig(
        name=name,
        snmp=SnmpConfig(
            host=host,
            port=port,
            read_community=f"read-{name}",
            write_community=f"write-{name}",
            user=SnmpUser("rackhand", f"auth-{name}-secret", f"priv-{name}-secret"),
        ),
        model="EN-2400",
        mac=_local_mac(0x5C, index << 10),
        rack=cabinet.name,
        unit=cabinet.units,
        ports=SWITCH_PORTS * max(1, -(-len(cables) // SWITCH_PORTS)),
        speed_mbit=10_000,
        vlans=(
            VlanConfig(PROVISIONING_VLAN, "provisioning"),
            VlanConfig(CUSTOMER_VLAN, "customers"),
            VlanConfig(MANAGEMENT_VLAN, "management", management),
        ),
    )


def _disks(configuration: Configuration, serial: str) -> tuple[DiskConfig, ...]:
    kind, size_gb, count = configuration.disks
    stem = "nvme{}n1" if kind is DiskKind.NVME else "sd{}"
    return tuple(
        DiskConfig(
            name=stem.format(number if kind is DiskKind.NVME else "abcdefgh"[number]),
            kind=kind,
            size_bytes=size_gb * GB,
            serial=f"{serial}-D{number}",
            model=configuration.disk_model,
        )
        for number in range(count)
    )


class _Macs:
    """Gives each network port an address: those for documentation first, then locally administered ones."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self) -> str:
        number = self._taken
        self._taken += 1
        if number < DOCUMENTATION_MACS:
            return f"00:00:5e:00:53:{number:02x}"
        return _local_mac(0x00, number)


def _local_mac(kind: int, number: int) -> str:
    return ":".join(f"{byte:02x}" for byte in (0x02, kind, 0x00, *number.to_bytes(3, "big")))
