"""PDUs over SNMP: one way of asking, and per maker a table of the objects of its MIB."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from rackhand.hardware.errors import Refused, Unsupported
from rackhand.hardware.interfaces import Endpoint, Outlet, OutletAction, PowerState
from rackhand.hardware.snmp import (
    SYS_DESCR,
    SYS_OBJECT_ID,
    Assignment,
    Instance,
    MibObject,
    SnmpClient,
    SnmpSettings,
    number,
    text,
)
from rackhand.hardware.snmp_message import Index, Value

ON, OFF, UNKNOWN = PowerState.ON, PowerState.OFF, PowerState.UNKNOWN
OID = r"^([0-9]+(\.[0-9]+)+)?$"


@dataclass(frozen=True)
class Meter:
    """A reading of an outlet: watts or kilowatt-hours are the value times *factor*; a negative one is none.

    *suffix* follows the outlet in the row's index; *digits* tells how many decimal places the value has.
    """

    column: MibObject
    factor: float
    suffix: Index = ()
    digits: MibObject | None = None


@dataclass(frozen=True)
class Command:
    """What switches an outlet: *word* is the MIB's name for *value*."""

    column: MibObject
    value: int
    word: str = ""


@dataclass(frozen=True)
class OutletTable:
    """The objects of a kind of PDU. *unit* is what the rows' indexes begin with, before the outlet."""

    maker: str
    object_id: str  # beginning of its sysObjectID
    state: MibObject
    states: Mapping[int, PowerState]
    commands: Mapping[OutletAction, Command]
    name: MibObject | None = None
    model: MibObject | None = None
    model_row: Index = (0,)
    unit: Index = ()
    watts: Meter | None = None
    energy: Meter | None = None


def _commands(
    column: MibObject, on: tuple[int, str], off: tuple[int, str], cycle: tuple[int, str]
) -> Mapping[OutletAction, Command]:
    words = {OutletAction.ON: on, OutletAction.OFF: off, OutletAction.CYCLE: cycle}
    return {action: Command(column, *word) for action, word in words.items()}


# PowerNet-MIB 4.5.x, PDU2-MIB of 2024-10-07, EATON-EPDU-MIB of 2023-03-31, VERTIV-V5-MIB of 2020-01-07. Of PDUs
# in a chain the first is meant.
OUTLET_TABLES: Mapping[str, OutletTable] = {
    "apc_rpdu2": OutletTable(
        maker="APC",
        object_id="1.3.6.1.4.1.318.1.3.4.6",  # masterSwitchrPDU2
        model=MibObject("PowerNet-MIB::rPDU2IdentModelNumber", "1.3.6.1.4.1.318.1.1.26.2.1.8"),
        model_row=(1,),
        name=MibObject("PowerNet-MIB::rPDU2OutletSwitchedStatusName", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.3"),
        state=MibObject("PowerNet-MIB::rPDU2OutletSwitchedStatusState", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5"),
        states={1: OFF, 2: ON},
        commands=_commands(
            MibObject("PowerNet-MIB::rPDU2OutletSwitchedControlCommand", "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5"),
            on=(1, "immediateOn"),
            off=(2, "immediateOff"),
            cycle=(3, "immediateReboot"),
        ),
        watts=Meter(
            MibObject("PowerNet-MIB::rPDU2OutletMeteredStatusPower", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.7"), 1
        ),
        energy=Meter(  # in tenths of a kilowatt-hour
            MibObject("PowerNet-MIB::rPDU2OutletMeteredStatusEnergy", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.11"),
            0.1,
        ),
    ),
    "apc_rpdu": OutletTable(
        maker="APC",
        object_id="1.3.6.1.4.1.318.1.3.4.5",  # masterSwitchrPDU
        model=MibObject("PowerNet-MIB::rPDUIdentModelNumber", "1.3.6.1.4.1.318.1.1.12.1.5"),
        name=MibObject("PowerNet-MIB::rPDUOutletStatusOutletName", "1.3.6.1.4.1.318.1.1.12.3.5.1.1.2"),
        state=MibObject("PowerNet-MIB::rPDUOutletStatusOutletState", "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4"),
        states={1: ON, 2: OFF},
        commands=_commands(
            MibObject("PowerNet-MIB::rPDUOutletControlOutletCommand", "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4"),
            on=(1, "immediateOn"),
            off=(2, "immediateOff"),
            cycle=(3, "immediateReboot"),
        ),
    ),
    "raritan": OutletTable(
        maker="Raritan",
        object_id="1.3.6.1.4.1.13742.6",
        model=MibObject("PDU2-MIB::pduModel", "1.3.6.1.4.1.13742.6.3.2.1.1.3"),
        model_row=(1,),
        unit=(1,),
        name=MibObject("PDU2-MIB::outletName", "1.3.6.1.4.1.13742.6.3.5.3.1.3"),
        state=MibObject("PDU2-MIB::outletSwitchingState", "1.3.6.1.4.1.13742.6.4.1.2.1.3"),
        states={7: ON, 8: OFF},  # SensorStateEnumeration
        commands=_commands(
            MibObject("PDU2-MIB::switchingOperation", "1.3.6.1.4.1.13742.6.4.1.2.1.2"),
            on=(1, "on"),
            off=(0, "off"),
            cycle=(2, "cycle"),
        ),
        watts=Meter(
            MibObject("PDU2-MIB::measurementsOutletSensorValue", "1.3.6.1.4.1.13742.6.5.4.3.1.4"),
            1,
            suffix=(5,),  # activePower, in watts
            digits=MibObject("PDU2-MIB::outletSensorDecimalDigits", "1.3.6.1.4.1.13742.6.3.5.4.1.7"),
        ),
        energy=Meter(
            MibObject("PDU2-MIB::measurementsOutletSensorValue", "1.3.6.1.4.1.13742.6.5.4.3.1.4"),
            0.001,
            suffix=(8,),  # activeEnergy, in watt-hours
            digits=MibObject("PDU2-MIB::outletSensorDecimalDigits", "1.3.6.1.4.1.13742.6.3.5.4.1.7"),
        ),
    ),
    "eaton": OutletTable(
        maker="Eaton",
        object_id="1.3.6.1.4.1.534.6.6.7",
        model=MibObject("EATON-EPDU-MIB::productName", "1.3.6.1.4.1.534.6.6.7.1.2.1.2"),
        unit=(0,),
        name=MibObject("EATON-EPDU-MIB::outletName", "1.3.6.1.4.1.534.6.6.7.6.1.1.3"),
        state=MibObject("EATON-EPDU-MIB::outletControlStatus", "1.3.6.1.4.1.534.6.6.7.6.6.1.2"),
        states={0: OFF, 1: ON, 2: ON, 3: OFF},  # pendingOff is on still
        commands={  # the value is the delay in seconds
            OutletAction.ON: Command(
                MibObject("EATON-EPDU-MIB::outletControlOnCmd", "1.3.6.1.4.1.534.6.6.7.6.6.1.4"), 0
            ),
            OutletAction.OFF: Command(
                MibObject("EATON-EPDU-MIB::outletControlOffCmd", "1.3.6.1.4.1.534.6.6.7.6.6.1.3"), 0
            ),
            OutletAction.CYCLE: Command(
                MibObject("EATON-EPDU-MIB::outletControlRebootCmd", "1.3.6.1.4.1.534.6.6.7.6.6.1.5"), 0
            ),
        },
        watts=Meter(MibObject("EATON-EPDU-MIB::outletWatts", "1.3.6.1.4.1.534.6.6.7.6.5.1.3"), 1),
        energy=Meter(MibObject("EATON-EPDU-MIB::outletWh", "1.3.6.1.4.1.534.6.6.7.6.5.1.4"), 0.001),
    ),
    "vertiv": OutletTable(
        maker="Vertiv",
        object_id="1.3.6.1.4.1.21239.5.2",
        model=MibObject("VERTIV-V5-MIB::productTitle", "1.3.6.1.4.1.21239.5.2.1.1"),
        name=MibObject("VERTIV-V5-MIB::pduOutletSwitchLabel", "1.3.6.1.4.1.21239.5.2.3.5.1.3"),
        state=MibObject("VERTIV-V5-MIB::pduOutletSwitchState", "1.3.6.1.4.1.21239.5.2.3.5.1.4"),
        # on2off and rebootOn are on still, off2on and rebootOff off; 7 is unavailable
        states={1: ON, 2: OFF, 3: ON, 4: OFF, 5: ON, 6: OFF},
        commands=_commands(
            MibObject("VERTIV-V5-MIB::pduOutletSwitchControl", "1.3.6.1.4.1.21239.5.2.3.5.1.6"),
            on=(2, "on"),
            off=(4, "off"),
            cycle=(6, "reboot"),
        ),
        watts=Meter(MibObject("VERTIV-V5-MIB::pduOutletMeterRealPower", "1.3.6.1.4.1.21239.5.2.3.6.1.12"), 1),
        energy=Meter(
            MibObject("VERTIV-V5-MIB::pduOutletMeterEnergy", "1.3.6.1.4.1.21239.5.2.3.6.1.15"), 0.001
        ),
    ),
}


class PduSettings(SnmpSettings):
    """How a PDU is spoken to, and for a `generic` one which objects it has.

    The columns are object identifiers without the outlet's number, which follows as the last part.
    """

    kind: Literal["auto", "apc_rpdu2", "apc_rpdu", "raritan", "eaton", "vertiv", "generic"] = Field(
        "auto",
        description="Kind of PDU; `auto` goes by its sysObjectID, `generic` takes the objects below.",
    )
    state_oid: str = Field("", pattern=OID, description="Generic: column of the states.")
    state_on: int = Field(1, description="Generic: the state that means on.")
    state_off: int = Field(2, description="Generic: the state that means off.")
    command_oid: str = Field(
        "", pattern=OID, description="Generic: column of the commands; empty: that of the states."
    )
    command_on: int = Field(1, description="Generic: the command that switches on.")
    command_off: int = Field(2, description="Generic: the command that switches off.")
    command_cycle: int = Field(
        -1, description="Generic: the command that switches off and on; -1: there is none."
    )
    name_oid: str = Field("", pattern=OID, description="Generic: column of the names.")
    watts_oid: str = Field("", pattern=OID, description="Generic: column of the power.")
    watts_factor: float = Field(1.0, gt=0, description="Generic: watts in one unit of the power.")
    energy_oid: str = Field("", pattern=OID, description="Generic: column of the energy.")
    energy_factor: float = Field(
        0.001, gt=0, description="Generic: kilowatt-hours in one unit of the energy."
    )

    @model_validator(mode="after")
    def _generic_needs_states(self) -> Self:
        if self.kind == "generic" and not self.state_oid:
            raise ValueError("a generic PDU needs state_oid")
        return self


class SnmpPdu:
    """A PDU over SNMP; asking it leaves nothing open on it."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:  # noqa: ARG002
        """Take where to ask; raise `ValueError` for wrong settings. A socket needs no slot."""
        settings = PduSettings.model_validate(dict(endpoint.settings))
        self._snmp = SnmpClient(endpoint, settings, noun="PDU")
        self._bulk_size = settings.bulk_size
        self._table: OutletTable | None = None  # until it is asked for
        if settings.kind == "generic":
            self._table = generic_table(settings)
        elif settings.kind != "auto":
            self._table = OUTLET_TABLES[settings.kind]

    async def info(self) -> str:
        """Return maker and model; of a generic PDU its sysDescr."""
        table = await self._outlet_table()
        if table.model is None:
            (description,) = await self._snmp.get(SYS_DESCR.at(0))
            return text(description)
        (model,) = await self._snmp.get(table.model.at(*table.model_row))
        return f"{table.maker} {text(model)}".strip()

    async def outlets(self) -> list[Outlet]:
        """Return all outlets that can be switched, in the order of their numbers."""
        table = await self._outlet_table()
        (states,) = await self._snmp.walk(table.state)
        indexes = sorted(row[-1] for row in states if row[:-1] == table.unit and isinstance(states[row], int))
        if not indexes:
            raise Unsupported(f"{self._snmp.who} has no {table.state.name}: it switches no outlets.")
        return await self._read(table, indexes)

    async def outlet(self, index: int) -> Outlet:
        """Return one outlet, read now."""
        (outlet,) = await self._read(await self._outlet_table(), [index])
        return outlet

    async def commands(self, index: int, action: OutletAction) -> tuple[str, ...]:
        """Return the line of the SET of `set_outlet`; asks whether the PDU has that outlet."""
        return (str(await self._assignment(index, action)),)

    async def set_outlet(self, index: int, action: OutletAction) -> tuple[str, ...]:
        """Send one SET. `CYCLE` switches on again after the delay that the PDU is set to."""
        assignment = await self._assignment(index, action)
        await self._snmp.set(assignment)
        return (str(assignment),)

    async def close(self) -> None:
        """Give back the socket."""
        await self._snmp.close()

    async def _assignment(self, index: int, action: OutletAction) -> Assignment:
        table = await self._outlet_table()
        command = table.commands.get(action)
        if command is None:
            raise Unsupported(f"{self._snmp.who} has no command to {action} an outlet.")
        row = (*table.unit, index)
        (state,) = await self._snmp.get(table.state.at(*row))
        self._check_state(index, state)
        return Assignment(command.column.at(*row), command.value, command.word)

    async def _read(self, table: OutletTable, indexes: Sequence[int]) -> list[Outlet]:
        """Read the outlets in as few requests as `bulk_size` lets."""
        meters = [meter for meter in (table.watts, table.energy) if meter is not None]
        instances = []
        for index in indexes:
            row = (*table.unit, index)
            instances.append(table.state.at(*row))
            instances += [table.name.at(*row)] if table.name else []
            for meter in meters:
                instances.append(meter.column.at(*row, *meter.suffix))
                instances += [meter.digits.at(*row, *meter.suffix)] if meter.digits else []
        values: dict[Instance, Value | None] = {}
        for start in range(0, len(instances), self._bulk_size):
            asked = instances[start : start + self._bulk_size]
            values.update(zip(asked, await self._snmp.get(*asked), strict=True))
        outlets = []
        for index in indexes:
            row = (*table.unit, index)
            state = values[table.state.at(*row)]
            self._check_state(index, state)
            outlets.append(
                Outlet(
                    index,
                    text(values[table.name.at(*row)]) if table.name else "",
                    table.states.get(number(state), UNKNOWN),
                    _reading(table.watts, row, values),
                    _reading(table.energy, row, values),
                )
            )
        return outlets

    def _check_state(self, index: int, state: Value | None) -> None:
        if not isinstance(state, int):
            raise Refused(f"{self._snmp.who} has no outlet {index}.")

    async def _outlet_table(self) -> OutletTable:
        if self._table is None:
            (object_id,) = await self._snmp.get(SYS_OBJECT_ID.at(0))
            found = [
                table
                for table in OUTLET_TABLES.values()
                if isinstance(object_id, str) and f"{object_id}.".startswith(f"{table.object_id}.")
            ]
            if not found:
                raise Unsupported(
                    f"{self._snmp.who} is of no kind that is known by its sysObjectID, {object_id!r}:"
                    " choose the kind in the settings of the access."
                )
            self._table = found[0]
        return self._table


def generic_table(settings: PduSettings) -> OutletTable:
    """Make a table of the settings."""

    def column(oid: str) -> MibObject:
        return MibObject(oid, oid)

    switch = column(settings.command_oid or settings.state_oid)
    commands = {
        OutletAction.ON: Command(switch, settings.command_on),
        OutletAction.OFF: Command(switch, settings.command_off),
        OutletAction.CYCLE: Command(switch, settings.command_cycle),
    }
    if settings.command_cycle < 0:
        del commands[OutletAction.CYCLE]
    return OutletTable(
        maker="",
        object_id="",
        name=column(settings.name_oid) if settings.name_oid else None,
        state=column(settings.state_oid),
        states={settings.state_on: ON, settings.state_off: OFF},
        commands=commands,
        watts=Meter(column(settings.watts_oid), settings.watts_factor) if settings.watts_oid else None,
        energy=Meter(column(settings.energy_oid), settings.energy_factor) if settings.energy_oid else None,
    )


def _reading(meter: Meter | None, row: Index, values: Mapping[Instance, Value | None]) -> float | None:
    if meter is None:
        return None
    value = values[meter.column.at(*row, *meter.suffix)]
    if not isinstance(value, int) or value < 0:
        return None
    digits = number(values[meter.digits.at(*row, *meter.suffix)]) if meter.digits else 0
    return float(value * meter.factor / 10**digits)
