"""Moments at which a process can be killed: around every step, and after a device was looked at or told something.

A point is `step:moment`. Only the first time counts: `looked` and `acted` (the device answered, we know nothing yet),
`returned-wait`, `returned-done` (the step is through, nothing is written), `committed-…` (our row is written, the
engine's checkpoint is not).
"""

import dataclasses
import functools
import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from rackhand.hardware import drivers
from rackhand.hardware.drivers import Driver
from rackhand.hardware.interfaces import (
    BmcDriver,
    Outlet,
    OutletAction,
    PduDriver,
    Port,
    PortChange,
    PowerAction,
    PowerState,
    SwitchDriver,
)
from rackhand.tasks.engine import Engine
from rackhand.tasks.operation import Done, Operation, Step, StepContext, Wait

current_step: ContextVar[str] = ContextVar("current_step", default="")


class Points:
    """Notes which points are passed, and kills the process at the chosen one."""

    def __init__(self, kill_at: str | None, note: Callable[[str], None]) -> None:
        self._kill_at = kill_at
        self._note = note

    def reach(self, moment: str, step: str | None = None) -> None:
        """Pass a point, or end here without a word."""
        point = f"{step or current_step.get()}:{moment}"
        self._note(point)
        if point == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def operation(self, operation: Operation[Any]) -> Operation[Any]:
        """The same operation with points around its steps."""
        steps = tuple(dataclasses.replace(step, run=self._around(step)) for step in operation.steps)
        return dataclasses.replace(operation, steps=steps)

    def _around(self, step: Step) -> Any:
        @functools.wraps(step.run)
        async def run(ctx: StepContext, subject: Any) -> Done | Wait:
            current_step.set(step.name)
            self.reach("before")
            answer = await step.run(ctx, subject)
            self.reach("returned-done" if isinstance(answer, Done) else "returned-wait")
            return answer

        return run

    def engine(self) -> type[Engine]:
        """An engine with a point between the commit of a turn and its checkpoint."""
        points = self

        class ProvedEngine(Engine):
            async def _take_turn(self, task_uuid: str, turn: int) -> dict[str, Any]:
                outcome = await super()._take_turn(task_uuid, turn)
                moment = "committed-wait" if outcome["seconds"] else "committed-done"
                points.reach(moment, f"turn after {current_step.get()}")
                return outcome

        return ProvedEngine

    def bmc_drivers(self) -> dict[str, Driver[BmcDriver]]:
        """The drivers with points after every answer of a BMC."""
        table = drivers.DRIVERS.items()
        return {
            name: dataclasses.replace(driver, connect=self._bmc(driver.connect)) for name, driver in table
        }

    def switch_drivers(self) -> dict[str, Driver[SwitchDriver]]:
        """The drivers with points after every look at a port and every change of one."""
        table = drivers.SWITCH_DRIVERS.items()
        return {
            name: dataclasses.replace(driver, connect=self._switch(driver.connect)) for name, driver in table
        }

    def pdu_drivers(self) -> dict[str, Driver[PduDriver]]:
        """The drivers with points after every look at an outlet and every command to one."""
        table = drivers.PDU_DRIVERS.items()
        return {
            name: dataclasses.replace(driver, connect=self._pdu(driver.connect)) for name, driver in table
        }

    def _pdu(self, pdu_class: Any) -> Any:
        points = self

        class ProvedPdu(pdu_class):  # type: ignore[misc]  # any driver
            async def outlet(self, index: int) -> Outlet:
                outlet: Outlet = await super().outlet(index)
                points.reach(f"looked at outlet {index}")
                return outlet

            async def set_outlet(self, index: int, action: OutletAction) -> tuple[str, ...]:
                sent: tuple[str, ...] = await super().set_outlet(index, action)
                points.reach(f"acted on outlet {index}, {action}")
                return sent

        return ProvedPdu

    def _switch(self, switch_class: Any) -> Any:
        points = self

        class ProvedSwitch(switch_class):  # type: ignore[misc]  # any driver
            async def port(self, index: int) -> Port:
                port: Port = await super().port(index)
                points.reach(f"looked at port {index}")
                return port

            async def apply(self, change: PortChange) -> tuple[str, ...]:
                sent: tuple[str, ...] = await super().apply(change)
                points.reach(f"acted on port {change.index}")
                return sent

        return ProvedSwitch

    def _bmc(self, bmc_class: Any) -> Any:
        points = self

        class ProvedBmc(bmc_class):  # type: ignore[misc]  # either driver
            async def power_state(self) -> PowerState:
                state: PowerState = await super().power_state()
                points.reach("looked")
                return state

            async def set_power(self, action: PowerAction) -> None:
                await super().set_power(action)
                points.reach("acted")

        return ProvedBmc
