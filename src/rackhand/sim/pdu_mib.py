"""The MIBs of PDUs: per kind a table of objects, with the words that its vendor has for them.

Numbers and enumerations are those of PowerNet-MIB (APC), PDU2-MIB (Raritan), EATON-EPDU-MIB and VERTIV-V5-MIB.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rackhand.sim import ber
from rackhand.sim.ber import Oid, Value
from rackhand.sim.config import PduKind
from rackhand.sim.events import Source
from rackhand.sim.mib import AnyTable, CannotSet, Column, Commit, ErrorStatus, Mib, Table
from rackhand.sim.pdu import Outlet, OutletCommand, Pdu
from rackhand.sim.snmp import whole_number
from rackhand.sim.system_mib import SCALAR, System, system_group

ENTERPRISES: Final[Oid] = (1, 3, 6, 1, 4, 1)
APC: Final[Oid] = (*ENTERPRISES, 318, 1)
RPDU: Final[Oid] = (*APC, 1, 12)
RPDU2: Final[Oid] = (*APC, 1, 26)
RARITAN: Final[Oid] = (*ENTERPRISES, 13742, 6)
EATON: Final[Oid] = (*ENTERPRISES, 534, 6, 6, 7)
VERTIV: Final[Oid] = (*ENTERPRISES, 21239, 5, 2)

VOLTS = 230
ACTIVE_POWER, ACTIVE_ENERGY = 5, 8  # Raritan's SensorTypeEnumeration
WATT, WATT_HOUR = 3, 5  # Raritan's SensorUnitsEnumeration
NO_COMMAND = -1  # Eaton: nothing is pending


@dataclass(frozen=True)
class _Row:
    """An outlet, or one sensor of it, as a row of a table."""

    pdu: Pdu
    outlet: Outlet
    sensor: int = 0


OutletColumn = Column[_Row]


@dataclass(frozen=True)
class OutletTable:
    """A table with a row for each outlet, or each sensor of it; *unit* is what its indexes begin with."""

    entry: Oid
    columns: Mapping[int, OutletColumn]
    unit: Oid = ()
    sensors: tuple[int, ...] = ()


@dataclass(frozen=True)
class PduMib:
    """What a kind of PDU shows besides the system group: *texts* stand under full numbers."""

    object_id: Oid
    manufacturer: str
    model: str
    groups: Mapping[Oid, Mapping[int, Column[Pdu]]]
    outlets: tuple[OutletTable, ...]


def _shows(read: Callable[[_Row], bytes]) -> OutletColumn:
    return OutletColumn(read)


def _number() -> OutletColumn:
    return _shows(lambda row: ber.integer(row.outlet.number))


def _constant(number: int) -> OutletColumn:
    return _shows(lambda _row: ber.integer(number))


def _name() -> OutletColumn:
    return _shows(lambda row: ber.octets(row.outlet.name))


def _state(*, on: int, off: int, rebooting: int | None = None) -> OutletColumn:
    """The state as the PDU believes it."""

    def read(row: _Row) -> bytes:
        if rebooting is not None and row.outlet.reboot is not None:
            return ber.integer(rebooting)
        return ber.integer(on if row.outlet.is_on else off)

    return _shows(read)


def _pending(*, yes: int, no: int) -> OutletColumn:
    return _shows(lambda row: ber.integer(no if row.outlet.reboot is None else yes))


def _command(words: Mapping[int, OutletCommand], read: OutletColumn) -> OutletColumn:
    """An object that takes one of *words*."""

    def write(row: _Row, value: Value) -> Commit:
        number = whole_number(value, -(2**31), 2**31 - 1)
        if number not in words:
            raise CannotSet(ErrorStatus.WRONG_VALUE)
        return lambda: row.pdu.command(row.outlet, words[number], Source.SNMP)

    return OutletColumn(read.read, write)


def _tenths_of_amps() -> OutletColumn:
    return _shows(lambda row: ber.gauge32(round(row.outlet.watts / VOLTS * 10)))


def _watts(encode: Callable[[int], bytes]) -> OutletColumn:
    return _shows(lambda row: encode(round(row.outlet.watts)))


def _energy(encode: Callable[[int], bytes], *, per_kwh: int) -> OutletColumn:
    return _shows(lambda row: encode(int(row.outlet.energy_wh * per_kwh / 1000)))


def _sensor_value() -> OutletColumn:
    """Raritan: watts or watt-hours."""
    return _shows(
        lambda row: ber.gauge32(
            round(row.outlet.watts) if row.sensor == ACTIVE_POWER else int(row.outlet.energy_wh)
        )
    )


def _text(read: Callable[[Pdu], str]) -> Column[Pdu]:
    return Column(lambda pdu: ber.octets(read(pdu)))


def _count() -> Column[Pdu]:
    return Column(lambda pdu: ber.integer(len(pdu.outlets)))


def _model(pdu: Pdu) -> str:
    return PDU_MIBS[pdu.config.kind].model


def _pdu_name(pdu: Pdu) -> str:
    return pdu.name


ON, OFF, REBOOT = OutletCommand.ON, OutletCommand.OFF, OutletCommand.REBOOT

PDU_MIBS: Final[Mapping[PduKind, PduMib]] = {
    PduKind.APC_RPDU2: PduMib(
        object_id=(*APC, 3, 4, 6),  # masterSwitchrPDU2
        manufacturer="APC",
        model="AP8959EU3",
        groups={
            # rPDU2IdentEntry with index 1
            (*RPDU2, 2, 1, 1): {3: _text(_pdu_name), 8: _text(_model)},
        },
        outlets=(
            OutletTable(  # rPDU2OutletSwitchedStatusTable
                entry=(*RPDU2, 9, 2, 3, 1),
                columns={
                    1: _number(),
                    2: _constant(1),
                    3: _name(),
                    4: _number(),
                    5: _state(on=2, off=1),
                    6: _pending(yes=1, no=2),
                },
            ),
            OutletTable(  # rPDU2OutletSwitchedControlTable: the same words the other way round
                entry=(*RPDU2, 9, 2, 4, 1),
                columns={
                    1: _number(),
                    2: _constant(1),
                    3: _name(),
                    4: _number(),
                    5: _command({1: ON, 2: OFF, 3: REBOOT}, read=_state(on=1, off=2)),
                },
            ),
            OutletTable(  # rPDU2OutletMeteredStatusTable
                entry=(*RPDU2, 9, 4, 3, 1),
                columns={
                    1: _number(),
                    2: _constant(1),
                    3: _name(),
                    4: _number(),
                    5: _constant(2),
                    6: _tenths_of_amps(),
                    7: _watts(ber.integer),
                    11: _energy(ber.integer, per_kwh=10),
                },
            ),
        ),
    ),
    PduKind.APC_RPDU: PduMib(
        object_id=(*APC, 3, 4, 5),  # masterSwitchrPDU
        manufacturer="APC",
        model="AP7920",
        groups={
            # rPDUIdent
            (*RPDU, 1): {1: _text(_pdu_name), 5: _text(_model), 8: _count()},
        },
        outlets=(
            OutletTable(  # rPDUOutletControlTable
                entry=(*RPDU, 3, 3, 1, 1),
                columns={
                    1: _number(),
                    2: _name(),
                    3: _constant(1),
                    4: _command({1: ON, 2: OFF, 3: REBOOT}, read=_state(on=1, off=2)),
                    5: _constant(1),
                },
            ),
            OutletTable(  # rPDUOutletStatusTable; this model does not measure outlets
                entry=(*RPDU, 3, 5, 1, 1),
                columns={
                    1: _number(),
                    2: _name(),
                    3: _constant(1),
                    4: _state(on=1, off=2),
                    5: _pending(yes=1, no=2),
                    6: _constant(1),
                },
            ),
        ),
    ),
    PduKind.RARITAN: PduMib(
        object_id=RARITAN,
        manufacturer="Raritan",
        model="PX3-5190CR",
        groups={
            # nameplateEntry and unitConfigurationEntry with pduId 1
            (*RARITAN, 3, 2, 1, 1): {2: _text(lambda _pdu: "Raritan"), 3: _text(_model)},
            (*RARITAN, 3, 2, 2, 1): {4: _count()},
        },
        outlets=(
            OutletTable(  # outletConfigurationTable
                entry=(*RARITAN, 3, 5, 3, 1),
                unit=(1,),
                columns={2: _shows(lambda row: ber.octets(str(row.outlet.number))), 3: _name()},
            ),
            OutletTable(  # outletSensorConfigurationTable
                entry=(*RARITAN, 3, 5, 4, 1),
                unit=(1,),
                sensors=(ACTIVE_POWER, ACTIVE_ENERGY),
                columns={
                    6: _shows(lambda row: ber.integer(WATT if row.sensor == ACTIVE_POWER else WATT_HOUR)),
                    7: _shows(lambda _row: ber.gauge32(0)),
                },
            ),
            OutletTable(  # outletSwitchControlTable; SensorStateEnumeration: on(7), off(8)
                entry=(*RARITAN, 4, 1, 2, 1),
                unit=(1,),
                columns={
                    2: _command({1: ON, 0: OFF, 2: REBOOT}, read=_state(on=1, off=0, rebooting=2)),
                    3: _state(on=7, off=8),
                },
            ),
            OutletTable(  # outletSensorMeasurementsTable; normal(4)
                entry=(*RARITAN, 5, 4, 3, 1),
                unit=(1,),
                sensors=(ACTIVE_POWER, ACTIVE_ENERGY),
                columns={2: _constant(1), 3: _constant(4), 4: _sensor_value()},
            ),
        ),
    ),
    PduKind.EATON: PduMib(
        object_id=EATON,
        manufacturer="Eaton",
        model="EMAB22",
        groups={
            # unitEntry with strappingIndex 0
            (*EATON, 1, 2, 1): {2: _text(_model), 6: _text(_pdu_name), 22: _count()},
        },
        outlets=(
            OutletTable(  # outletTable
                entry=(*EATON, 6, 1, 1),
                unit=(0,),
                columns={2: _shows(lambda row: ber.octets(f"A{row.outlet.number}")), 3: _name()},
            ),
            OutletTable(  # outletPowerTable
                entry=(*EATON, 6, 5, 1),
                unit=(0,),
                columns={3: _watts(ber.integer), 4: _energy(ber.gauge32, per_kwh=1000)},
            ),
            OutletTable(  # outletControlTable; a command is written as its delay in seconds, of which we take 0
                entry=(*EATON, 6, 6, 1),
                unit=(0,),
                columns={
                    2: _state(on=1, off=0, rebooting=3),
                    3: _command({0: OFF}, read=_constant(NO_COMMAND)),
                    4: _command({0: ON}, read=_constant(NO_COMMAND)),
                    5: _command({0: REBOOT}, read=_constant(NO_COMMAND)),
                },
            ),
        ),
    ),
    PduKind.VERTIV: PduMib(
        object_id=VERTIV,
        manufacturer="Vertiv",
        model="VP8865",
        groups={
            # deviceInfo
            (*VERTIV, 1): {1: _text(_model), 3: _text(_pdu_name)},
        },
        outlets=(
            OutletTable(  # pduOutletSwitchTable
                entry=(*VERTIV, 3, 5, 1),
                columns={
                    2: _shows(lambda row: ber.octets(f"Outlet {row.outlet.number}")),
                    3: _name(),
                    4: _state(on=1, off=2, rebooting=6),
                    6: _command({2: ON, 4: OFF, 6: REBOOT}, read=_constant(8)),
                },
            ),
            OutletTable(  # pduOutletMeterTable
                entry=(*VERTIV, 3, 6, 1),
                columns={
                    2: _shows(lambda row: ber.octets(f"Outlet {row.outlet.number}")),
                    3: _name(),
                    12: _watts(ber.gauge32),
                    15: _energy(ber.gauge32, per_kwh=1000),
                },
            ),
        ),
    ),
}
# The index of the groups' one row: tables of units count from 1, Eaton's from 0, scalars have 0.
UNIT_INDEX: Final[Mapping[PduKind, Oid]] = {PduKind.APC_RPDU2: (1,), PduKind.RARITAN: (1,)}


def pdu_mib(pdu: Pdu) -> Mib:
    """Return what the agent of *pdu* shows."""
    words = PDU_MIBS[pdu.config.kind]
    system = System(
        description=f"{words.manufacturer} {words.model}, virtual",
        object_id=words.object_id,
        uptime=lambda: pdu.uptime,
        name=pdu.name,
        location=pdu.config.rack,
        services=72,
    )
    index = UNIT_INDEX.get(pdu.config.kind, SCALAR)
    groups = [
        Table(entry=entry, columns=columns, rows=lambda: {index: pdu})
        for entry, columns in words.groups.items()
    ]
    tables: list[AnyTable] = [system_group(system), *groups]
    tables += [_outlet_table(pdu, table) for table in words.outlets]
    return Mib(tables)


def _outlet_table(pdu: Pdu, table: OutletTable) -> Table[_Row]:
    all_rows: dict[Oid, _Row] = {}
    for number, outlet in pdu.outlets.items():
        if table.sensors:
            for sensor in table.sensors:
                all_rows[*table.unit, number, sensor] = _Row(pdu, outlet, sensor)
        else:
            all_rows[*table.unit, number] = _Row(pdu, outlet)

    def rows() -> Mapping[Oid, _Row]:
        pdu.settle()
        return all_rows

    return Table(entry=table.entry, columns=table.columns, rows=rows)
