"""Power by outlets in the matrix: machines without a BMC on two feeds, judged by the relays themselves."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rackhand.sim.config import NO_BMC, MachineConfig, RackConfig, RestorePolicy
from rackhand.sim.demo import demo_rack
from rackhand.sim.events import Source
from rackhand.sim.faults import Fault
from rackhand.sim.pdu import Outlet, OutletCommand, Pdu
from rackhand.sim.rack import RackThread

Answer = Mapping[str, Any]


def mains_rack(*, time_scale: float) -> RackConfig:
    """Two machines without a BMC that start when they get mains, on the PDUs of the demo."""
    rack = demo_rack(2, time_scale=time_scale)
    machines = (
        replace(machine, bmc=NO_BMC, restore_policy=RestorePolicy.ALWAYS_ON, starts_on=True)
        for machine in rack.machines
    )
    return replace(rack, machines=tuple(machines), cables=(), switches=())


@dataclass(frozen=True)
class OutletCase:
    """All outlets of a machine begin as *begins* and end as *ends*, and each was told what is in *told*, once.

    With *lies* the PDU of the last feed takes commands and does nothing: the task must fail, and nothing be changed.
    """

    operation: str
    begins: bool
    ends: bool
    told: tuple[str, ...]
    lies: str = ""

    def __str__(self) -> str:
        return f"{self.operation} by outlets{f' with {self.lies}' if self.lies else ''}"

    @property
    def params(self) -> dict[str, object]:
        """None."""
        return {}

    def arrange(self, rack: RackThread, machine: MachineConfig) -> None:
        """Switch the outlets by hand, and only then have a PDU lie."""
        found = outlets_of(rack, machine)
        for pdu, outlet in found:
            pdu.faults.switch_all_off()
            _by_hand(rack, pdu, outlet, OutletCommand.ON if self.begins else OutletCommand.OFF)
        if self.lies:
            found[-1][0].faults.switch_on(Fault(self.lies))

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """Look at the relays and read the log of each PDU."""
        wanted = "failed" if self.lies else "succeeded"
        assert answer["status"] == wanted, f"the task ended as {answer}"
        for pdu, outlet in outlets_of(rack, machine):
            assert outlet.is_closed == self.ends, (
                f"outlet {outlet.number} of {pdu.name} is {outlet.is_closed}"
            )
            if not self.lies:
                log = rack.control.log(after=before, device=pdu.name)
                done = tuple(
                    event.action.value
                    for event in log
                    if event.detail.get("outlet") == outlet.number
                    and event.action in {"outlet_on", "outlet_off"}
                )
                assert done == self.told, (
                    f"outlet {outlet.number} of {pdu.name} did {done} instead of {self.told}"
                )
        assert answer["outlet_flags"] == [], f"outlets are flagged: {answer['outlet_flags']}"


def outlets_of(rack: RackThread, machine: MachineConfig) -> list[tuple[Pdu, Outlet]]:
    """The outlets that feed a machine, with their PDU, as they really are."""
    assert rack.rack is not None
    return [
        (pdu, outlet)
        for pdu in rack.rack.pdus.values()
        for outlet in pdu.outlets.values()
        if outlet.config.machine == machine.name
    ]


def _by_hand(rack: RackThread, pdu: Pdu, outlet: Outlet, command: OutletCommand) -> None:
    """Give a command in the rack's own thread: its timers belong there."""

    async def act() -> None:
        pdu.command(outlet, command, Source.CONTROL)

    assert rack._loop is not None
    asyncio.run_coroutine_threadsafe(act(), rack._loop).result()


OUTLET_CASES = (
    OutletCase("power_off", begins=True, ends=False, told=("outlet_off",)),
    OutletCase("power_on", begins=False, ends=True, told=("outlet_on",)),
    OutletCase("power_reset", begins=True, ends=True, told=("outlet_off", "outlet_on")),
    OutletCase("power_off", begins=True, ends=True, told=(), lies="ignore_outlet"),
)
