"""The SNMP client: values, tables, changes, and what each kind of failure becomes."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rackhand.hardware.errors import HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import Endpoint
from rackhand.hardware.snmp import Assignment, MibObject, SnmpClient, SnmpSettings, Syntax
from tests.hardware.agents import Agent, answering

NAME = MibObject("T::name", "1.3.6.1.2.1.1.5", Syntax.OCTETS)
KIND = MibObject("T::kind", "1.3.6.1.2.1.1.2")
STATE = MibObject("T::state", "1.3.6.1.2.1.2.2.1.7")
SPEED = MibObject("T::speed", "1.3.6.1.2.1.2.2.1.5")
NONE = MibObject("T::none", "1.3.6.1.2.1.2.2.1.6")
LAST = MibObject("T::last", "1.3.6.1.9")
ROWS = 50


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    tree = {f"{NAME.oid}.0": b"sw\0", f"{KIND.oid}.0": "1.3.6.1.4.1.9.1", f"{LAST.oid}.1": 5}
    tree |= {f"{STATE.oid}.{row}": row for row in range(1, ROWS + 1)}
    tree |= {f"{SPEED.oid}.{row}": 10 * row for row in range(1, 8)}
    async with answering(Agent(tree)) as agent:
        yield agent


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[SnmpClient]:
    client = connect(agent)
    yield client
    await client.close()


def connect(agent: Agent, password: str = "public", **settings: object) -> SnmpClient:
    given = {"timeout_seconds": 0.5, "retries": 1, "write_community": "private", **settings}
    endpoint = Endpoint("snmp", "127.0.0.1", agent.port, password=password)
    return SnmpClient(endpoint, SnmpSettings.model_validate(given), noun="switch")


async def test_values_come_as_what_they_are_and_absent_ones_as_none(client: SnmpClient) -> None:
    assert await client.get(NAME.at(0), KIND.at(0), STATE.at(7), NONE.at(1)) == [
        b"sw\0",
        "1.3.6.1.4.1.9.1",
        7,
        None,
    ]


@pytest.mark.parametrize("bulk_size", [1, 7, 40, 400])
async def test_columns_of_any_length_are_walked_to_their_own_end(agent: Agent, bulk_size: int) -> None:
    client = connect(agent, bulk_size=bulk_size)
    speed, none, state, last = await client.walk(SPEED, NONE, STATE, LAST)
    await client.close()
    assert speed == {(row,): 10 * row for row in range(1, 8)}
    assert none == {}
    assert state == {(row,): row for row in range(1, ROWS + 1)}
    assert last == {(1,): 5}


async def test_change_is_sent_once_with_the_community_for_writing(agent: Agent, client: SnmpClient) -> None:
    await client.set(Assignment(STATE.at(3), 1, "up"))
    assert agent.log == [f"{STATE.oid}.3 = 1"]
    assert await client.get(STATE.at(3)) == [1]


async def test_community_for_reading_writes_where_no_other_is_given(agent: Agent) -> None:
    client = connect(agent, password="private", write_community="")
    await client.set(Assignment(NAME.at(0), b"new"))
    assert await client.get(NAME.at(0)) == [b"new"]
    await client.close()


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        (Assignment(STATE.at(10101), 2, "down"), "SET T::state.10101 = down(2)"),
        (Assignment(STATE.at(1, 2), 20), "SET T::state.1.2 = 20"),
        (Assignment(NAME.at(20), b"\x80\x01"), "SET T::name.20 = 0x8001"),
    ],
)
def test_line_of_a_change(assignment: Assignment, line: str) -> None:
    assert str(assignment) == line


async def test_silence_and_a_wrong_community_look_the_same(agent: Agent) -> None:
    client = connect(agent, password="guess")
    with pytest.raises(Unreachable, match="no answer; a wrong community looks the same"):
        await client.get(NAME.at(0))
    assert agent.asked == 2  # a question is repeated
    await client.close()


async def test_lost_change_is_not_repeated(agent: Agent, client: SnmpClient) -> None:
    agent.forgetful = True
    with pytest.raises(
        Timeout, match=r"did not answer `SET T::state.3 = up\(1\)`: it may have been done or not"
    ):
        await client.set(Assignment(STATE.at(3), 1, "up"))
    assert agent.asked == 1
    assert await client.get(STATE.at(3)) == [1]  # and the client asks on


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("noAccess", Refused),
        ("notWritable", Refused),
        ("authorizationError", Refused),
        ("inconsistentValue", Refused),
        ("noCreation", Unsupported),
        ("genErr", Timeout),
        ("resourceUnavailable", Timeout),
    ],
)
async def test_status_of_an_answer_is_an_error_of_ours(
    agent: Agent, client: SnmpClient, status: str, error: type[HardwareError]
) -> None:
    agent.failing[STATE.oid] = status
    asks: list[Callable[[], object]] = [
        lambda: client.get(STATE.at(1)),
        lambda: client.walk(STATE),
        lambda: client.set(Assignment(STATE.at(1), 1)),
    ]
    for ask in asks:
        with pytest.raises(error, match=f"The switch at 127.0.0.1:{agent.port} answers {status} to"):
            await ask()  # type: ignore[misc]  # each gives something to wait for


async def test_table_that_breaks_off_with_an_error_is_never_taken_for_whole(agent: Agent) -> None:
    client = connect(agent, bulk_size=10)
    agent.failing[f"{STATE.oid}.20"] = "genErr"  # the third request starts there
    with pytest.raises(Timeout, match="genErr"):
        await client.walk(STATE)
    await client.close()


async def test_agent_that_answers_something_else_is_found_out(agent: Agent, client: SnmpClient) -> None:
    agent.shortening = True
    with pytest.raises(Refused, match=r"something else than T::name\.0"):
        await client.get(NAME.at(0), STATE.at(1))
    other = connect(agent, bulk_size=1)
    with pytest.raises(Refused, match="answers with nothing"):
        await other.walk(STATE)
    await other.close()


async def test_agent_that_walks_in_circles_is_found_out(agent: Agent, client: SnmpClient) -> None:
    agent.circling = True
    agent.tree = {
        oid: value for oid, value in agent.tree.items() if oid[:-1] == (1, 3, 6, 1, 2, 1, 2, 2, 1, 7)
    }
    with pytest.raises(Refused, match="walks in circles in T::state"):
        await client.walk(STATE)


async def test_name_without_address_is_unreachable(agent: Agent) -> None:
    client = SnmpClient(Endpoint("snmp", "switch.invalid", 161), SnmpSettings(), noun="switch")
    with pytest.raises(Unreachable, match=r"switch\.invalid:161 cannot be reached"):
        await client.get(NAME.at(0))


@pytest.mark.parametrize(
    ("user", "password", "settings", "words"),
    [
        ("", "secret-secret", {"version": "3"}, "needs a user"),
        ("admin", "", {"version": "3"}, "needs a password"),
        (
            "admin",
            "x",
            {"version": "3", "authentication": "none", "privacy": "AES"},
            "needs an authentication",
        ),
    ],
)
def test_version_3_without_what_it_needs_is_a_wrong_setting(
    user: str, password: str, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        SnmpClient(
            Endpoint("snmp", "h", 161, user, password), SnmpSettings.model_validate(settings), noun="pdu"
        )


async def test_closed_client_leaves_no_socket(agent: Agent) -> None:
    before = open_files()
    for _ in range(5):
        client = connect(agent)
        await client.get(NAME.at(0))
        await client.close()
        await client.close()
    await answered_once(agent)
    assert open_files() <= before + 1


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def answered_once(agent: Agent) -> None:
    """Give the loop turns to close what was closed."""
    client = connect(agent)
    await client.get(NAME.at(0))
    await client.close()
