"""Agents: who is let in, what each is told to do, and that nothing is done twice."""

import asyncio
import json

from sqlalchemy import select

from rackhand.app import Services
from rackhand.boot.board import CommandBoard
from rackhand.boot.model import AgentSession, CommandState
from rackhand.tasks.model import Phase, TaskStatus, TaskStep
from tests.boot.conftest import STRANGER, Booting


async def test_the_nonce_of_the_last_script_lets_one_boot_in(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    old, new = await booting.nonce(), await booting.nonce()
    assert (await booting.hello(old)).status_code == 403
    assert (await booting.hello("guess")).status_code == 403
    assert (await booting.hello(new, macs=(STRANGER,))).status_code == 403
    first = await booting.hello(new)
    assert first.status_code == 200
    # Its answer may have been lost: the same boot may ask again, and only its newest token counts.
    again = await booting.hello(new)
    assert (await booting.call(first.json()["token"], "next", {})).status_code == 401
    assert (await booting.call(again.json()["token"], "next", {})).json() == {"command": None}
    # Somebody who has read the nonce is another boot.
    assert (await booting.hello(new, boot_id="boot-2")).status_code == 403
    assert (await booting.call(again.json()["token"], "next", {})).status_code == 200


async def test_no_token_no_answer(booting: Booting) -> None:
    await booting.reserve(await booting.add_task())
    token = await booting.agent()
    bodies = {
        "next": {}, "progress": {"command": "1"}, "result": {"command": "1", "ok": True}, "log": {"lines": []},
    }  # fmt: skip
    for verb, body in bodies.items():
        for wrong in ("x", token[:-1], token + "x"):
            answer = await booting.call(wrong, verb, body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, 1000), verb
        assert (await booting.http.post(f"/boot/agent/{verb}", json=body)).status_code == 401


async def test_a_token_ends_with_its_task(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    token = await booting.agent()
    await booting.set_task(task, status=TaskStatus.FAILED)
    assert (await booting.call(token, "next", {})).status_code == 401


async def test_a_command_is_handed_out_again_until_its_outcome_is_known(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    token = await booting.agent()
    command = await booting.ask(task)
    expected = {"command": {"id": command, "kind": "inventory", "args": {"level": "full"}}}
    for _ in range(2):
        assert (await booting.call(token, "next", {})).json() == expected
    outcome = {"command": command, "ok": True, "result": {"cpus": 2}}
    for _ in range(2):
        assert (await booting.call(token, "result", outcome)).status_code == 200
    assert (await booting.call(token, "result", {**outcome, "ok": False})).status_code == 200
    row = await booting.command(command)
    assert (row.state, row.result, row.error) == (CommandState.DONE, {"cpus": 2}, None)
    assert (await booting.call(token, "next", {})).json() == {"command": None}
    assert (await booting.call(token, "result", {**outcome, "command": "1.x.1"})).status_code == 404


async def test_asking_twice_for_an_attempt_is_one_command(booting: Booting) -> None:
    task = await booting.add_task()
    await asyncio.gather(*(booting.ask(task) for _ in range(3)))
    assert (await booting.command(f"{task}.wipe_disks.1")).state == CommandState.QUEUED


async def test_who_waits_is_told_when_a_command_is_queued(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    token = await booting.agent()
    waiting = asyncio.create_task(booting.call(token, "next", {"wait": 20}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    command = await booting.ask(task)
    assert (await waiting).json()["command"]["id"] == command


async def test_who_waits_is_sent_away_when_the_listener_is_closed(
    services: Services, booting: Booting
) -> None:
    await booting.reserve(await booting.add_task())
    token = await booting.agent()
    board = CommandBoard(services.db)
    waiting = asyncio.create_task(board.wait(1, 60))
    asking = asyncio.create_task(booting.call(token, "next", {"wait": 60}))
    await asyncio.sleep(0.1)
    board.send_all_away()
    assert await waiting is False
    assert await board.wait(1, 60) is False
    await board.close()
    services.stopping.set()
    assert (await asking).json() == {"command": None}


async def test_a_command_that_a_restart_cut_off_is_lost_and_told(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    command = await booting.ask(task)
    first = await booting.agent()
    await booting.call(first, "next", {})
    # The agent alone was restarted: the same boot goes on with it.
    nonce = await booting.nonce()
    second = (await booting.hello(nonce)).json()["token"]
    assert (await booting.call(second, "next", {})).json()["command"]["id"] == command
    # The machine was restarted.
    third = await booting.agent(boot_id="boot-2")
    assert (await booting.call(third, "next", {})).json() == {"command": None}
    row = await booting.command(command)
    assert (row.state, row.error) == (CommandState.LOST, "The machine was restarted in the middle of it.")
    # What an agent of an earlier boot still says is not heard.
    answer = await booting.call(first, "result", {"command": command, "ok": True})
    assert answer.status_code == 401


async def test_a_task_that_is_taken_back_asks_for_nothing_and_wants_nothing(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    token = await booting.agent()
    command = await booting.ask(task)
    assert (await booting.call(token, "next", {})).json()["command"]["id"] == command
    progress = {"command": command, "percent": 40, "message": "sda 40 %"}
    assert (await booting.call(token, "progress", progress)).json() == {"wanted": True}
    await booting.set_task(task, phase=Phase.UNDO)
    assert (await booting.call(token, "progress", progress)).json() == {"wanted": False}
    await booting.ask(task, attempt=2)
    await booting.call(
        token, "result", {"command": command, "ok": False, "error": "It was not wanted any more."}
    )
    assert (await booting.call(token, "next", {})).json() == {"command": None}
    assert (await booting.command(f"{task}.wipe_disks.2")).state == CommandState.QUEUED


async def test_progress_shows_on_the_step(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    token = await booting.agent()
    command = await booting.ask(task)
    await booting.call(token, "next", {})
    for _ in range(20):  # the task goes on meanwhile, and may have the last word on its step
        async with booting.services.db.write() as session:
            (step,) = (await session.scalars(select(TaskStep).where(TaskStep.task_id == task))).all()
            step.status = "waiting"
        await booting.call(token, "progress", {"command": command, "percent": 40, "message": "sda 40 %"})
        async with booting.services.db.read() as session:
            (step,) = (await session.scalars(select(TaskStep).where(TaskStep.task_id == task))).all()
        if (step.progress, step.message) == (40, "sda 40 %"):
            return
    raise AssertionError((step.progress, step.message, step.status))


async def test_an_agent_of_one_task_gets_at_nothing_of_another(booting: Booting) -> None:
    mine, other = await booting.add_task(), await booting.add_task(server_id=99)
    await booting.reserve(mine)
    token = await booting.agent()
    foreign = await booting.ask(other)
    assert (await booting.call(token, "next", {})).json() == {"command": None}
    for verb, body in {"progress": {}, "result": {"ok": True}}.items():
        assert (await booting.call(token, verb, {"command": foreign, **body})).status_code == 404


async def test_logs_keep_their_end(booting: Booting) -> None:
    await booting.reserve(await booting.add_task())
    token = await booting.agent()
    for number in range(30):
        await booting.call(token, "log", {"lines": [f"{number} " + "x" * 1000]})
    async with booting.services.db.read() as session:
        (agent,) = (await session.scalars(select(AgentSession))).all()
    assert len(agent.log_tail) == 16 * 1024
    assert agent.log_tail.endswith("29 " + "x" * 1000 + "\n")


async def test_bodies_have_an_end_and_a_shape(booting: Booting) -> None:
    await booting.reserve(await booting.add_task())
    token = await booting.agent()
    assert (await booting.call(token, "log", {"lines": ["x" * 5000]})).status_code == 400
    assert (await booting.call(token, "next", {"wait": 1e9})).status_code == 400
    assert (await booting.call(token, "result", {"command": "1"})).status_code == 400
    headers = {"authorization": f"Bearer {token}"}
    huge = b'{"command": "1", "ok": true, "result": {"x": "' + b"x" * (9 * 1024 * 1024) + b'"}}'
    assert (await booting.http.post("/boot/agent/result", content=huge, headers=headers)).status_code == 413
    assert (await booting.http.post("/boot/agent/result", content=b"{", headers=headers)).status_code == 400


async def test_text_that_no_database_takes_is_cleaned(booting: Booting) -> None:
    task = await booting.add_task()
    await booting.reserve(task)
    token = await booting.agent()
    command = await booting.ask(task)
    await booting.call(token, "next", {})
    outcome = {"command": command, "ok": True, "result": {"se\0rial": ["A\0B", {"x": "\ud800"}]}}
    answer = await booting.http.post(
        "/boot/agent/result",
        content=json.dumps(outcome).encode(),
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    assert (await booting.command(command)).result == {"serial": ["AB", {"x": ""}]}
