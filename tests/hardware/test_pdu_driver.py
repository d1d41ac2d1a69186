"""The SNMP PDU driver: every maker's objects, units and words; a PDU is an agent whose outlets obey."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from rackhand.hardware.connect import open_pdu
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import Refused, Timeout, Unsupported
from rackhand.hardware.interfaces import Endpoint, Outlet, OutletAction, PowerState
from rackhand.hardware.pdu_snmp import OUTLET_TABLES
from rackhand.hardware.snmp_message import Index
from tests.hardware.agents import Agent, answering, numbers, wire

ON, OFF, CYCLE = OutletAction.ON, OutletAction.OFF, OutletAction.CYCLE
MODEL = b"PDU-24\0"


@dataclass(frozen=True)
class Maker:
    """What a PDU of a maker has in its tree, written down from the MIB and not from the driver."""

    tree: dict[str, object]
    state: str  # of outlet 2, which is on
    words: dict[OutletAction, str]
    after: dict[int, int]  # what a command makes of the state
    watts: float | None
    energy_kwh: float | None
    info: str


APC2, APC1 = "1.3.6.1.4.1.318.1.1.26", "1.3.6.1.4.1.318.1.1.12"
RARITAN, EATON, VERTIV = "1.3.6.1.4.1.13742.6", "1.3.6.1.4.1.534.6.6.7", "1.3.6.1.4.1.21239.5.2"
KIND = "1.3.6.1.2.1.1.2.0"
MAKERS = {
    "apc_rpdu2": Maker(
        tree={
            KIND: "1.3.6.1.4.1.318.1.3.4.6",
            f"{APC2}.2.1.8.1": MODEL,
            f"{APC2}.9.2.3.1.3.1": b"db1",
            f"{APC2}.9.2.3.1.3.2": b"web2",
            f"{APC2}.9.2.3.1.5.1": 1,
            f"{APC2}.9.2.3.1.5.2": 2,
            f"{APC2}.9.2.4.1.5.2": 1,
            f"{APC2}.9.4.3.1.7.1": 0,
            f"{APC2}.9.4.3.1.7.2": 231,
            f"{APC2}.9.4.3.1.11.2": 12345,
        },
        state=f"{APC2}.9.2.3.1.5.2",
        words={
            ON: "SET PowerNet-MIB::rPDU2OutletSwitchedControlCommand.2 = immediateOn(1)",
            OFF: "SET PowerNet-MIB::rPDU2OutletSwitchedControlCommand.2 = immediateOff(2)",
            CYCLE: "SET PowerNet-MIB::rPDU2OutletSwitchedControlCommand.2 = immediateReboot(3)",
        },
        after={1: 2, 2: 1, 3: 2},
        watts=231,
        energy_kwh=1234.5,
        info="APC PDU-24",
    ),
    "apc_rpdu": Maker(
        tree={
            KIND: "1.3.6.1.4.1.318.1.3.4.5",
            f"{APC1}.1.5.0": MODEL,
            f"{APC1}.3.5.1.1.2.1": b"db1",
            f"{APC1}.3.5.1.1.2.2": b"web2",
            f"{APC1}.3.5.1.1.4.1": 2,
            f"{APC1}.3.5.1.1.4.2": 1,
            f"{APC1}.3.3.1.1.4.2": 1,
        },
        state=f"{APC1}.3.5.1.1.4.2",
        words={
            ON: "SET PowerNet-MIB::rPDUOutletControlOutletCommand.2 = immediateOn(1)",
            OFF: "SET PowerNet-MIB::rPDUOutletControlOutletCommand.2 = immediateOff(2)",
            CYCLE: "SET PowerNet-MIB::rPDUOutletControlOutletCommand.2 = immediateReboot(3)",
        },
        after={1: 1, 2: 2, 3: 1},
        watts=None,
        energy_kwh=None,
        info="APC PDU-24",
    ),
    "raritan": Maker(
        tree={
            KIND: RARITAN,
            f"{RARITAN}.3.2.1.1.3.1": MODEL,
            f"{RARITAN}.3.5.3.1.3.1.1": b"db1",
            f"{RARITAN}.3.5.3.1.3.1.2": b"web2",
            f"{RARITAN}.4.1.2.1.3.1.1": 8,
            f"{RARITAN}.4.1.2.1.3.1.2": 7,
            f"{RARITAN}.4.1.2.1.3.2.1": 7,  # of the second unit in a chain
            f"{RARITAN}.4.1.2.1.2.1.2": 1,
            f"{RARITAN}.3.5.4.1.7.1.2.5": 1,
            f"{RARITAN}.5.4.3.1.4.1.2.5": 2315,
            f"{RARITAN}.3.5.4.1.7.1.2.8": 0,
            f"{RARITAN}.5.4.3.1.4.1.2.8": 1234500,
        },
        state=f"{RARITAN}.4.1.2.1.3.1.2",
        words={
            ON: "SET PDU2-MIB::switchingOperation.1.2 = on(1)",
            OFF: "SET PDU2-MIB::switchingOperation.1.2 = off(0)",
            CYCLE: "SET PDU2-MIB::switchingOperation.1.2 = cycle(2)",
        },
        after={1: 7, 0: 8, 2: 7},
        watts=231.5,
        energy_kwh=1234.5,
        info="Raritan PDU-24",
    ),
    "eaton": Maker(
        tree={
            KIND: EATON,
            f"{EATON}.1.2.1.2.0": MODEL,
            f"{EATON}.6.1.1.3.0.1": b"db1",
            f"{EATON}.6.1.1.3.0.2": b"web2",
            f"{EATON}.6.6.1.2.0.1": 0,
            f"{EATON}.6.6.1.2.0.2": 1,
            f"{EATON}.6.6.1.3.0.2": -1,
            f"{EATON}.6.6.1.4.0.2": -1,
            f"{EATON}.6.6.1.5.0.2": -1,
            f"{EATON}.6.5.1.3.0.1": -1,
            f"{EATON}.6.5.1.3.0.2": 231,
            f"{EATON}.6.5.1.4.0.2": 1234500,
        },
        state=f"{EATON}.6.6.1.2.0.2",
        words={
            ON: "SET EATON-EPDU-MIB::outletControlOnCmd.0.2 = 0",
            OFF: "SET EATON-EPDU-MIB::outletControlOffCmd.0.2 = 0",
            CYCLE: "SET EATON-EPDU-MIB::outletControlRebootCmd.0.2 = 0",
        },
        after={},
        watts=231,
        energy_kwh=1234.5,
        info="Eaton PDU-24",
    ),
    "vertiv": Maker(
        tree={
            KIND: f"{VERTIV}.1",
            f"{VERTIV}.1.1.0": MODEL,
            f"{VERTIV}.3.5.1.3.1": b"db1",
            f"{VERTIV}.3.5.1.3.2": b"web2",
            f"{VERTIV}.3.5.1.4.1": 6,
            f"{VERTIV}.3.5.1.4.2": 1,
            f"{VERTIV}.3.5.1.6.2": 8,
            f"{VERTIV}.3.6.1.12.2": 231,
            f"{VERTIV}.3.6.1.15.2": 1234500,
        },
        state=f"{VERTIV}.3.5.1.4.2",
        words={
            ON: "SET VERTIV-V5-MIB::pduOutletSwitchControl.2 = on(2)",
            OFF: "SET VERTIV-V5-MIB::pduOutletSwitchControl.2 = off(4)",
            CYCLE: "SET VERTIV-V5-MIB::pduOutletSwitchControl.2 = reboot(6)",
        },
        after={2: 1, 4: 2, 6: 1},
        watts=231,
        energy_kwh=1234.5,
        info="Vertiv PDU-24",
    ),
}
# A maker of whom nothing is known: on is 10, off is 20, power in tenths of a watt.
GENERIC = "1.3.6.1.4.1.32473.1"
GENERIC_SETTINGS = {
    "kind": "generic",
    "state_oid": f"{GENERIC}.1",
    "state_on": "10",
    "state_off": "20",
    "command_oid": f"{GENERIC}.2",
    "command_on": "1",
    "command_off": "0",
    "name_oid": f"{GENERIC}.3",
    "watts_oid": f"{GENERIC}.4",
    "watts_factor": "0.1",
    "energy_oid": f"{GENERIC}.5",
    "energy_factor": "1",
}
GENERIC_TREE = {
    "1.3.6.1.2.1.1.1.0": b"Example PDU",
    f"{GENERIC}.1.7": 10,
    f"{GENERIC}.2.7": 1,
    f"{GENERIC}.3.7": b"web7",
    f"{GENERIC}.4.7": 2310,
    f"{GENERIC}.5.7": 3,
}


def obey(agent: Agent, maker: Maker) -> Callable[[Index, int | bytes], str | None]:
    """Make the outlet follow its commands."""

    def on_set(oid: Index, value: int | bytes) -> str | None:
        assert isinstance(value, int)
        # Eaton's object says what to do, and the value when.
        state = {3: 0, 4: 1, 5: 1}[oid[-3]] if maker is MAKERS["eaton"] else maker.after[value]
        agent.tree[numbers(maker.state)] = wire(state)
        return None

    return on_set


@pytest.fixture
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[Agent]:
    maker = MAKERS[request.param]
    agent = Agent(maker.tree)
    agent.on_set = obey(agent, maker)
    async with answering(agent):
        yield agent


def endpoint(agent: Agent, **settings: str) -> Endpoint:
    given = {"write_community": "private", "timeout_seconds": "0.5", "retries": "0", **settings}
    return Endpoint("snmp", "127.0.0.1", agent.port, password="public", settings=given)


def test_every_maker_of_the_table_is_tested() -> None:
    assert set(MAKERS) == set(OUTLET_TABLES)


@pytest.mark.parametrize(("agent", "maker"), MAKERS.items(), indirect=["agent"])
async def test_outlets_are_read_in_our_units(doors: Doors, agent: Agent, maker: Maker) -> None:
    async with open_pdu(doors, endpoint(agent)) as pdu:
        assert await pdu.info() == maker.info
        first, second = await pdu.outlets()
        assert (first.index, first.name, first.state) == (1, "db1", PowerState.OFF)
        assert second == Outlet(2, "web2", PowerState.ON, maker.watts, maker.energy_kwh)
        assert await pdu.outlet(2) == second


@pytest.mark.parametrize(("agent", "maker"), MAKERS.items(), indirect=["agent"])
async def test_outlet_is_switched_by_what_the_dry_run_showed(
    doors: Doors, agent: Agent, maker: Maker
) -> None:
    async with open_pdu(doors, endpoint(agent)) as pdu:
        for action, state in ((OFF, PowerState.OFF), (ON, PowerState.ON), (CYCLE, PowerState.ON)):
            agent.log.clear()
            assert await pdu.commands(2, action) == (maker.words[action],)
            assert agent.log == []
            assert await pdu.set_outlet(2, action) == (maker.words[action],)
            assert len(agent.log) == 1
            assert (await pdu.outlet(2)).state is state


@pytest.mark.parametrize("agent", MAKERS, indirect=True)
async def test_outlet_that_is_not_there_is_refused(doors: Doors, agent: Agent) -> None:
    async with open_pdu(doors, endpoint(agent)) as pdu:
        for ask in (pdu.outlet(99), pdu.set_outlet(99, OFF), pdu.commands(99, OFF)):
            with pytest.raises(Refused, match="has no outlet 99"):
                await ask
    assert agent.log == []


async def test_generic_pdu_has_the_objects_of_its_settings(doors: Doors) -> None:
    async with answering(Agent(GENERIC_TREE)) as agent:
        agent.on_set = lambda _, value: agent.tree.update(
            {numbers(f"{GENERIC}.1.7"): wire(10 if value else 20)}
        )
        async with open_pdu(doors, endpoint(agent, **GENERIC_SETTINGS)) as pdu:
            assert await pdu.info() == "Example PDU"
            assert await pdu.outlets() == [Outlet(7, "web7", PowerState.ON, 231, 3)]
            assert await pdu.set_outlet(7, OFF) == (f"SET {GENERIC}.2.7 = 0",)
            assert (await pdu.outlet(7)).state is PowerState.OFF
            with pytest.raises(Unsupported, match="no command to cycle"):
                await pdu.set_outlet(7, CYCLE)


async def test_unknown_kind_is_said_and_can_be_forced(doors: Doors) -> None:
    tree = {**MAKERS["vertiv"].tree, KIND: "1.3.6.1.4.1.32473.9"}
    async with answering(Agent(tree)) as agent:
        with pytest.raises(Unsupported, match=r"sysObjectID, '1\.3\.6\.1\.4\.1\.32473\.9': choose the kind"):
            async with open_pdu(doors, endpoint(agent)) as pdu:
                await pdu.outlets()
        async with open_pdu(doors, endpoint(agent, kind="vertiv")) as pdu:
            assert len(await pdu.outlets()) == 2


async def test_pdu_that_switches_nothing_is_unsupported(doors: Doors) -> None:
    async with answering(Agent({KIND: EATON})) as agent, open_pdu(doors, endpoint(agent)) as pdu:
        with pytest.raises(Unsupported, match="it switches no outlets"):
            await pdu.outlets()


@pytest.mark.parametrize("agent", ["apc_rpdu2"], indirect=True)
async def test_pdu_that_does_not_obey(doors: Doors, agent: Agent) -> None:
    async with open_pdu(doors, endpoint(agent)) as pdu:
        agent.on_set = lambda _oid, _value: None
        await pdu.set_outlet(2, OFF)  # accepted, and only the reading tells
        assert (await pdu.outlet(2)).state is PowerState.ON
        agent.on_set = lambda _oid, _value: "notWritable"
        with pytest.raises(Refused, match="notWritable"):
            await pdu.set_outlet(2, OFF)
        agent.forgetful = True
        with pytest.raises(Timeout, match=r"did not answer `SET .*immediateOff\(2\)`"):
            await pdu.set_outlet(2, OFF)


@pytest.mark.parametrize("agent", ["eaton"], indirect=True)
async def test_many_outlets_are_read_in_pieces(doors: Doors, agent: Agent) -> None:
    for outlet in range(3, 49):
        agent.tree[numbers(f"{EATON}.6.6.1.2.0.{outlet}")] = wire(outlet % 2)
    async with open_pdu(doors, endpoint(agent, bulk_size="10")) as pdu:
        outlets = await pdu.outlets()
    assert [outlet.index for outlet in outlets] == list(range(1, 49))
    assert [outlet.state for outlet in outlets[2:6]] == [PowerState.ON, PowerState.OFF] * 2


@pytest.mark.parametrize("agent", ["eaton"], indirect=True)
async def test_two_who_want_a_pdu_take_turns(doors: Doors, agent: Agent) -> None:
    order = []

    async def switch(action: OutletAction) -> None:
        async with open_pdu(doors, endpoint(agent)) as pdu:
            order.append(f"enter {action}")
            await pdu.set_outlet(2, action)
            order.append(f"leave {action}")

    await asyncio.gather(switch(OFF), switch(ON))
    assert order == ["enter off", "leave off", "enter on", "leave on"]


@pytest.mark.parametrize("agent", ["eaton"], indirect=True)
async def test_wrong_settings_are_unsupported(doors: Doors, agent: Agent) -> None:
    wrong = replace(endpoint(agent), settings={"kind": "generic"})
    with pytest.raises(Unsupported, match="a generic PDU needs state_oid"):
        async with open_pdu(doors, wrong):
            pytest.fail("there is nothing to ask for")
