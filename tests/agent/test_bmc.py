"""Setting up BMCs from inside: on a BMC of the rack, and through `ipmitool` on OpenIPMI's `ipmi_sim`."""

import contextlib
import dataclasses
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from rackhand.agent.commands import Report, execute
from rackhand.agent.host import BmcLan, BmcUser, Controller, Host
from rackhand.agent.linux_bmc import LinuxController, parse_user, parse_user_names
from rackhand.agent.protocol import Command
from rackhand.sim.bmc import Bmc
from rackhand.sim.faults import Fault
from rackhand.sim.host import SimulatedHost
from tests.agent.machines import Iron
from tests.hardware.bmcs import await_answer, start_ipmi_sim

PASSWORD = "Abcdefgh23456789"
LAN = {"address": "192.0.2.9", "netmask": "255.255.255.0", "gateway": "192.0.2.1", "is_static": True}


class Quiet(Report):
    """Says nothing to nobody."""

    def __init__(self) -> None:
        pass

    def __call__(self, percent: int | None, message: str) -> None:
        pass

    def note(self, words: str) -> None:
        pass

    @contextlib.contextmanager
    def pulsing(self) -> Iterator[None]:
        yield


class Machine:
    """A machine of the rack, its BMC, and the host of its present boot."""

    def __init__(self) -> None:
        iron = Iron()
        self.bmc = Bmc(iron.machine)
        self.host: SimulatedHost = dataclasses.replace(iron.boot(), its_bmc=self.bmc)

    def set_up(self, lan: object = None) -> Any:
        args = {"user": "rackhand", "bmc_password": PASSWORD, "lan": lan}
        return execute(self.host, Command("1.x.1", "set_up_bmc", args), Quiet())


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_our_user_gets_the_first_free_slot_and_keeps_it(machine: Machine) -> None:
    first = machine.set_up()
    assert (first.ok, first.error) == (True, None)
    taken = [slot for slot, account in machine.bmc.accounts.items() if account.name]
    assert first.result["slot"] == max(taken) > 2
    account = machine.bmc.accounts[first.result["slot"]]
    assert (account.name, account.password, account.privilege, account.is_enabled) == (
        "rackhand",
        PASSWORD,
        4,
        True,
    )
    assert machine.set_up().result == first.result


def test_a_bmc_is_moved_and_says_where_it_is(machine: Machine) -> None:
    done = machine.set_up(LAN)
    assert (done.result["lan"], done.result["problem"]) == (LAN, "")
    assert machine.bmc.lan.address == "192.0.2.9"


def test_ipmi_over_lan_is_switched_on(machine: Machine) -> None:
    machine.bmc.lan = dataclasses.replace(machine.bmc.lan, speaks_ipmi=False)
    assert machine.set_up().ok
    assert machine.bmc.lan.speaks_ipmi


def test_a_bmc_whose_slots_are_all_taken_is_left_alone(machine: Machine) -> None:
    machine.bmc.faults.switch_on(Fault.BMC_USERS_FULL)
    before = machine.bmc.state()
    assert "no free user slot" in machine.set_up(LAN).error
    assert machine.bmc.state() == before


def test_a_bmc_that_accepts_and_does_nothing_is_found_out(machine: Machine) -> None:
    machine.bmc.faults.switch_on(Fault.BMC_KEEPS_SETTINGS)
    assert "accepted user 'rackhand' in slot" in machine.set_up(LAN).error


def test_an_address_that_is_not_taken_is_told_with_where_the_bmc_is(machine: Machine) -> None:
    machine.set_up()
    before = machine.bmc.lan
    machine.bmc.faults.switch_on(
        Fault.BMC_KEEPS_SETTINGS, times=4
    )  # name is there: password, rights, address, back
    machine.bmc.accounts[2] = machine.bmc.accounts[2]
    done = machine.set_up(LAN)
    assert done.ok
    assert done.result["problem"].startswith("The BMC accepted the address 192.0.2.9 and is at ")
    assert done.result["problem"].endswith("It is as it was.")
    assert (done.result["lan"]["address"], machine.bmc.lan) == (before.address, before)


def test_a_machine_without_a_bmc_says_so() -> None:
    host = Iron().boot()
    args = {"user": "rackhand", "bmc_password": PASSWORD, "lan": None}
    done = execute(host, Command("1.x.1", "set_up_bmc", args), Quiet())
    assert "no BMC, or the ramdisk has no driver" in str(done.error)


def test_the_password_shows_in_no_repr() -> None:
    args = {"user": "rackhand", "bmc_password": PASSWORD, "lan": None}
    assert PASSWORD not in repr(Command("1.x.1", "set_up_bmc", args))


# --- ipmitool


class Seeing:
    """The host of a machine whose BMC is reached by *controller*; nobody waits."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def controller(self) -> Controller:
        return self._controller

    def pause(self, _seconds: float) -> None:
        threading.Event().wait(0.01)


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[LinuxController]:
    """`ipmi_sim` as our program would reach a BMC of its own machine, but for the way there."""
    if shutil.which("ipmi_sim") is None:
        pytest.skip("ipmi_sim is not installed")
    sim = start_ipmi_sim(tmp_path / "bmc")
    try:
        await_answer(sim)
        end = sim.endpoint
        way = (
            "-I",
            "lanplus",
            "-C",
            "3",
            "-H",
            end.host,
            "-p",
            str(end.port),
            "-U",
            end.user,
            "-P",
            end.password,
        )
        yield LinuxController(("ipmitool", *way))
    finally:
        sim.process.kill()
        sim.process.wait()


def test_a_stock_bmc_is_set_up_and_does_what_it_was_told(stock: LinuxController) -> None:
    args = {"user": "rackhand", "bmc_password": PASSWORD, "lan": LAN}
    done = execute(cast("Host", Seeing(stock)), Command("1.x.1", "set_up_bmc", args), Quiet())
    assert (done.error, done.result) == (
        None,
        {"channel": 1, "slot": 3, "user": "rackhand", "lan": LAN, "problem": ""},
    )
    assert stock.user(1, 3) == BmcUser("rackhand", is_enabled=True, has_lan=True, is_administrator=True)
    assert stock.lan(1) == BmcLan("192.0.2.9", "255.255.255.0", "192.0.2.1", is_static=True)
    way = [{"admin": "rackhand"}.get(word, word) for word in stock.tool[:-1]]
    signed_in = LinuxController((*way, PASSWORD))
    assert signed_in.user_names(1)[3] == "rackhand"


def test_passwords_are_typed_and_stand_in_no_arguments(tmp_path: Path) -> None:
    """A stand-in for the program writes down its arguments and what it was told."""
    tool = tmp_path / "tool"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\ncat >> {tmp_path}/typed\necho Success\n')
    tool.chmod(0o755)
    controller = LinuxController((str(tool),))
    controller.set_user_password(3, PASSWORD)
    assert controller.has_password(3, PASSWORD)
    assert (tmp_path / "arguments").read_text() == "user set password 3\nuser test 3 16\n"
    assert (tmp_path / "typed").read_text() == f"{PASSWORD}\n" * 3


def test_free_slots_are_told_from_taken_ones() -> None:
    rows = (
        "1,,true,false,false,NO ACCESS",
        "2,ADMIN,true,false,true,ADMINISTRATOR",
        "3,(Empty User),true,,,NO ACCESS",
    )
    text = "\n".join(rows)
    assert parse_user_names(text) == {1: "", 2: "ADMIN", 3: ""}


def test_a_user_that_is_disabled_is_none_that_can_sign_in() -> None:
    text = (
        "Maximum User IDs     : 15\nEnabled User IDs     : 2\n\nUser ID              : 3\n"
        "User Name            : rackhand\nFixed Name           : No\nAccess Available     : callback\n"
        "Link Authentication  : enabled\nIPMI Messaging       : enabled\nPrivilege Level      : ADMINISTRATOR\n"
    )
    seen = parse_user(f"{text}Enable Status        : disabled\n")
    assert seen == BmcUser("rackhand", is_enabled=False, has_lan=True, is_administrator=True)
    assert parse_user(f"{text}Enable Status        : unknown\n").is_enabled
