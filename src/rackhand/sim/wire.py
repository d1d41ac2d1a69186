"""Wire types of the control API: what a client sends and gets."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rackhand.sim.config import AuthProtocol, BmcKind, BootMode, PduKind
from rackhand.sim.events import Action, DetailValue, Source
from rackhand.sim.faults import DeviceKind, Fault
from rackhand.sim.machine import BootDevice, Phase, Power


class Strict(BaseModel):
    """A request body: no key that is not known, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FaultSetting(Strict):
    """How a fault is switched on: *value* in the fault's unit, *times* it strikes before it wears off."""

    value: float | None = Field(None, allow_inf_nan=False)
    times: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class MainsSetting(Strict):
    """Give or take mains power, of all feeds or of one."""

    on: bool
    feed: str | None = None


class PowerButton(Strict):
    """A press on the power button; *hold* is the long one that cuts power."""

    hold: bool = False


class BootServer(Strict):
    """Where machines boot from the network: its URL, empty for nowhere, and its VLAN, null for any."""

    url: Annotated[str, Field(max_length=255, pattern=r"^(http://[^\s/]+/?)?$")]
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None


class Traffic(Strict):
    """What a NIC sends and receives while its machine runs, in octets per simulated second."""

    nic: str
    sends: float = Field(ge=0, le=1e12, allow_inf_nan=False)
    receives: float = Field(ge=0, le=1e12, allow_inf_nan=False)


class CableSwap(Strict):
    """Two ports of a switch whose cables change places."""

    port: int
    other: int


class ResetRequest(Strict):
    """What to return to its start: one machine, or all."""

    machine: str | None = None


class FaultDescription(BaseModel):
    """A fault that can be switched on; *unit* is empty when it takes no value."""

    name: Fault
    doc: str
    unit: str
    default: float
    low: float
    high: float
    takes_times: bool
    devices: list[DeviceKind]


class ActiveFault(BaseModel):
    """A fault that is on."""

    value: float
    times: int | None


class OverrideView(BaseModel):
    """A boot override as it really is."""

    device: BootDevice
    mode: BootMode | None
    persistent: bool


class BmcAddress(BaseModel):
    """Where a BMC listens and how to sign in. The machines are simulated; there is nothing to protect."""

    kind: BmcKind
    host: str
    port: int
    url: str
    user: str
    password: str = Field(repr=False)


class MachineView(BaseModel):
    """A machine as it really is, whatever its BMC says."""

    name: str
    serial: str
    model: str
    configuration: str
    rack: str
    unit: int
    height: int
    power: Power
    phase: Phase
    mains: bool
    lost_feeds: list[str]
    boot_override: OverrideView | None
    booted_from: BootDevice | None
    identify: bool
    macs: list[str]
    bmc: BmcAddress
    bmc_answers: bool
    faults: dict[Fault, ActiveFault]


class SnmpUserView(BaseModel):
    """An SNMPv3 user; privacy is AES-128."""

    name: str
    auth: AuthProtocol
    auth_password: str = Field(repr=False)
    privacy_password: str = Field(repr=False)


class SnmpAddress(BaseModel):
    """Where an SNMP agent listens and how to ask it. The devices are simulated; there is nothing to protect."""

    host: str
    port: int
    read_community: str = Field(repr=False)
    write_community: str = Field(repr=False)
    user: SnmpUserView | None


class PortView(BaseModel):
    """A switch port as it really is: *device* and *plug* are what the cable leads to.

    *vlan* is the one that untagged frames travel in both ways, null when there is none: the PVID may be that of
    a VLAN whose frames do not leave here untagged.
    """

    number: int
    index: int
    name: str
    alias: str
    admin_up: bool
    link: bool
    pvid: int
    vlan: int | None
    speed_mbit: int
    octets_in: int
    octets_out: int
    device: str | None
    plug: str | None


class VlanView(BaseModel):
    """A VLAN of a switch; ports by their numbers."""

    id: int
    name: str
    egress: list[int]
    untagged: list[int]


class SwitchView(BaseModel):
    """A switch as it really is, whatever it answers; *uptime* in simulated seconds."""

    name: str
    model: str
    mac: str
    rack: str
    unit: int
    snmp: SnmpAddress
    answers: bool
    crashed: bool
    uptime: float
    counter_bits: int
    ports: list[PortView]
    vlans: list[VlanView]
    faults: dict[Fault, ActiveFault]

    def port(self, number: int) -> PortView:
        """Return the port with this label."""
        return self.ports[number - 1]


class OutletView(BaseModel):
    """An outlet as it really is: *on* is what the PDU believes, *delivers* where its relay is."""

    number: int
    name: str
    on: bool
    delivers: bool
    rebooting: bool
    machine: str | None
    feed: str | None
    watts: float
    energy_kwh: float


class PduView(BaseModel):
    """A PDU as it really is."""

    name: str
    kind: PduKind
    mac: str
    rack: str
    snmp: SnmpAddress
    answers: bool
    outlets: list[OutletView]
    faults: dict[Fault, ActiveFault]

    def outlet(self, number: int) -> OutletView:
        """Return the outlet with this label."""
        return self.outlets[number - 1]


class EventView(BaseModel):
    """One entry of the log; *time* is Unix time."""

    seq: int
    time: float
    device: str
    source: Source
    action: Action
    detail: dict[str, DetailValue]


class LogPage(BaseModel):
    """A part of the log. *first* is the number of the oldest event still kept, *last* that of the newest of all."""

    events: list[EventView]
    first: int
    last: int


class Problem(BaseModel):
    """Every answer that is not a success."""

    error: str


class RackView(BaseModel):
    """What the rack is."""

    status: Literal["up"] = "up"
    machines: int
    switches: int
    pdus: int
    time_scale: float
    last_event: int
