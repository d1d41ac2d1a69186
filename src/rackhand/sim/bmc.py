"""A machine's BMC, whatever protocol it speaks: who may sign in, when it answers, what it does and hides."""

import hmac
import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rackhand.sim.config import BmcKind, BmcUser, MachineConfig, Privilege
from rackhand.sim.console import SerialConsole
from rackhand.sim.events import Action, DetailValue, EventLog, Source
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.machine import BootOverride, Machine, Phase, Power

MAX_USERS = 10
LOCKED_SECONDS = 300.0  # simulated; the usual default of vendors' lock-out policies
LONG_RESET_SECONDS = (90.0, 240.0)  # what real BMCs were seen to take
SHORTEST_IDLE_SECONDS = 3.0  # real; however fast the clock runs, a client must get its next request in


class PowerCommand(StrEnum):
    """What a client can ask of the chassis."""

    ON = "on"
    OFF = "off"
    SOFT_OFF = "soft_off"
    RESET = "reset"
    CYCLE = "cycle"
    NMI = "nmi"
    PRESS_BUTTON = "press_button"


POWER_STEPS: Final[dict[PowerCommand, Callable[[Machine, Source], None]]] = {
    PowerCommand.ON: Machine.power_on,
    PowerCommand.OFF: Machine.power_off,
    PowerCommand.SOFT_OFF: Machine.soft_off,
    PowerCommand.RESET: Machine.reset,
    PowerCommand.CYCLE: Machine.power_cycle,
    PowerCommand.NMI: Machine.interrupt,
    PowerCommand.PRESS_BUTTON: Machine.press_power_button,
}


class Reason(StrEnum):
    """Why a command was not accepted."""

    BUSY = "busy"
    REFUSED = "refused"
    WRONG_STATE = "wrong_state"


class NotAccepted(Exception):  # the other half of "accepted"
    """The BMC does not take a command; each protocol has its own words for *reason*."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass
class Account:
    """What is in a user slot; without a name the slot is free."""

    name: str = ""
    password: str = field(default="", repr=False)
    privilege: Privilege | None = None
    is_enabled: bool = False
    bad_logins: int = 0
    locked_until: float = -math.inf

    @property
    def may_sign_in(self) -> bool:
        """Whether anybody can sign in with it."""
        return bool(self.name and self.is_enabled and self.privilege is not None)


@dataclass(frozen=True)
class Lan:
    """Where the BMC is in its network; without *speaks_ipmi* its IPMI port is silent."""

    address: str
    netmask: str = "255.255.255.0"
    gateway: str = ""
    is_static: bool = False
    speaks_ipmi: bool = True


@dataclass
class BmcState:
    """What a BMC remembers without mains."""

    accounts: dict[int, tuple[str, str, int | None, bool]]
    lan: Lan


class Bmc:
    """The controller of one machine. Protocol faces ask it; faults are felt here.

    `life` changes whenever the BMC starts afresh: sessions of an earlier life are gone. Who has its faces on the
    network is told by `has_moved` when it has another address.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.console = SerialConsole(machine)
        self.resets = 0
        self.random = random.Random(zlib.crc32(machine.config.name.encode()) + machine.config.seed)  # noqa: S311
        self._away_until = -math.inf
        self.accounts = self._accounts_at_start()
        self.lan = Lan(machine.config.bmc.host)
        self.has_moved: Callable[[], None] = lambda: None

    @property
    def config(self) -> MachineConfig:
        """What the machine is."""
        return self.machine.config

    @property
    def faults(self) -> Faults:
        """The machine's faults."""
        return self.machine.faults

    @property
    def log(self) -> EventLog:
        """The rack's log."""
        return self.machine.log

    @property
    def life(self) -> tuple[int, int]:
        """Which life of the BMC this is."""
        return self.machine.mains_losses, self.resets

    # On the wire

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all is answered now: no BMC, no mains, still starting, or unplugged."""
        now = self.machine.clock.now()
        started = self.machine.mains_since + self.config.bmc_boot_seconds
        return (
            self.config.bmc.kind is BmcKind.NONE
            or not self.machine.has_mains
            or now < started
            or now < self._away_until
            or self.faults.is_on(Fault.UNPLUGGED)
        )

    def loses_packet(self) -> bool:
        """Say whether what has just arrived is lost on the way."""
        share = self.faults.value(Fault.DROP_PACKETS)
        return share is not None and self.random.random() < share and self.faults.strikes(Fault.DROP_PACKETS)

    def lateness(self) -> float:
        """Return how long the next answer waits, in real seconds."""
        seconds = self.faults.value(Fault.SLOW)
        return seconds if seconds and self.faults.strikes(Fault.SLOW) else 0.0

    def talks_garbage(self) -> bool:
        """Say whether the next answer is nonsense."""
        return self.faults.strikes(Fault.GARBAGE)

    # Signing in

    def user(self, name: str) -> BmcUser | None:
        """Return the account called *name* as it really is, password included."""
        account = self._account(name)
        if account is None or account.privilege is None:
            return None
        is_wrong = self.faults.is_on(Fault.WRONG_PASSWORD)
        password = _another_password(account.password) if is_wrong else account.password
        return BmcUser(name, password, account.privilege)

    def _account(self, name: str) -> Account | None:
        found = (each for each in self.accounts.values() if each.name == name and each.may_sign_in)
        return next(found, None)

    def _accounts_at_start(self) -> dict[int, Account]:
        """User slots by number; slot 1 is the nameless user's, who is disabled."""
        users = dict(enumerate(self.machine.config.bmc.users, start=2))
        return {
            slot: Account(user.name, user.password, user.privilege, is_enabled=True)
            if (user := users.get(slot))
            else Account()
            for slot in range(1, MAX_USERS + 1)
        }

    def is_locked(self, name: str) -> bool:
        """Say whether the account is locked now."""
        account = self._account(name)
        return account is not None and self.machine.clock.now() < account.locked_until

    def check_password(self, name: str, password: str, source: Source) -> BmcUser | None:
        """Return the account when *password* is right and it is not locked, and count the attempt."""
        user = self.user(name)
        if user is None or not hmac.compare_digest(user.password.encode(), password.encode()):
            self.refuse_login(name, source, why="unknown user" if user is None else "wrong password")
            return None
        if self.is_locked(name):
            self.refuse_login(name, source, why="locked")
            return None
        self.accept_login(name, source)
        return user

    def accept_login(self, name: str, source: Source) -> None:
        """Record a good login."""
        if (account := self._account(name)) is not None:
            account.bad_logins = 0
        self._record(source, Action.LOGIN_ACCEPTED, user=name)

    def refuse_login(self, name: str, source: Source, *, why: str, counts: bool = True) -> None:
        """Record a refused login; one that *counts* locks the account when that fault is on and it was too many."""
        self._record(source, Action.LOGIN_REFUSED, user=name, why=why)
        account = self._account(name)
        allowed = self.faults.value(Fault.LOCK_OUT)
        if not counts or account is None or allowed is None or self.is_locked(name):
            return
        account.bad_logins += 1
        if account.bad_logins >= allowed:
            account.bad_logins = 0
            account.locked_until = self.machine.clock.now() + LOCKED_SECONDS
            self._record(Source.MACHINE, Action.USER_LOCKED, user=name, seconds=LOCKED_SECONDS)

    def session_slots(self, usual: int) -> int:
        """Return how many sessions fit at once, *usual* when nothing is wrong."""
        slots = self.faults.value(Fault.SESSION_SLOTS)
        return usual if slots is None else int(slots)

    def idle_seconds(self, usual: float) -> float:
        """Return after how many simulated seconds of silence a session ends.

        That is *usual*, but never less than `SHORTEST_IDLE_SECONDS` of real time.
        """
        return max(usual, self.real_to_simulated(SHORTEST_IDLE_SECONDS))

    def real_to_simulated(self, seconds: float) -> float:
        """Return simulated seconds that pass in so many real ones."""
        return seconds * self.machine.clock.scale

    # Commands

    def power_state(self) -> Power:
        """Return the power state as this BMC reports it."""
        lag = self.faults.value(Fault.STALE_POWER)
        if lag is None:
            return self.machine.power
        then = self.machine.clock.now() - lag
        changes = self.machine.power_changes
        return next((power for when, power in reversed(changes) if when <= then), changes[0][1])

    def set_power(self, command: PowerCommand, source: Source, *, strict: bool = False) -> None:
        """Do *command*, or raise NotAccepted.

        Soft off, reset, cycle and NMI need a machine that is on. When *strict*, `on` needs one that is off
        and `off` one that is on; otherwise those are accepted and change nothing.
        """
        if self.faults.strikes(Fault.REFUSE_POWER, source=source):
            self._record(source, Action.POWER_REFUSED, asked=command.value, why="refused")
            raise NotAccepted(Reason.REFUSED)
        self.check_busy(source)
        if not self._fits(command, strict=strict):
            self._record(source, Action.POWER_REFUSED, asked=command.value, why="wrong_state")
            raise NotAccepted(Reason.WRONG_STATE)
        if self.faults.strikes(Fault.IGNORE_POWER, source=source):
            self._record(source, Action.POWER_IGNORED, asked=command.value)
            return
        POWER_STEPS[command](self.machine, source)

    def _fits(self, command: PowerCommand, *, strict: bool) -> bool:
        is_on = self.machine.power is Power.ON
        if command is PowerCommand.ON:
            return not (strict and is_on)
        if command is PowerCommand.OFF:
            return is_on or not strict
        return is_on or command is PowerCommand.PRESS_BUTTON

    def set_boot_override(self, override: BootOverride | None, source: Source) -> None:
        """Set or clear the boot override, or raise NotAccepted."""
        self.check_busy(source)
        if self.faults.strikes(Fault.DROP_OVERRIDE, source=source):
            device = None if override is None else override.device.value
            self._record(source, Action.BOOT_OVERRIDE_DROPPED, device=device)
            return
        self.machine.set_override(override, source)

    def set_identify(self, source: Source, *, on: bool, seconds: float | None = None) -> None:
        """Switch the identification light."""
        self.machine.set_identify(source, on=on, seconds=seconds)

    def check_busy(self, source: Source) -> None:
        """Raise NotAccepted when the BMC takes no writes now, as some do while the machine is in POST."""
        if self.machine.phase is Phase.POST and self.faults.strikes(Fault.BUSY_WHILE_POST, source=source):
            raise NotAccepted(Reason.BUSY)

    def reset(self, source: Source) -> None:
        """Restart the BMC: no session or lock survives, nothing is answered for a while, the host runs on."""
        seconds = self._reset_seconds()
        self.resets += 1
        self._away_until = self.machine.clock.now() + seconds
        self._unlock()
        self._record(source, Action.BMC_RESET, seconds=round(seconds, 1))
        life = self.life
        self.machine.clock.call_later(seconds, lambda: self._come_back(life))

    def _reset_seconds(self) -> float:
        seconds = self.faults.value(Fault.BMC_RESET_TIME)
        if seconds is None:
            return self.config.bmc_boot_seconds
        return seconds or self.random.uniform(*LONG_RESET_SECONDS)

    def _come_back(self, life: tuple[int, int]) -> None:
        if life == self.life:
            self._record(Source.MACHINE, Action.BMC_READY)

    def return_to_start(self) -> None:
        """Be ready at once, with no session and no lock."""
        self.resets += 1
        self._away_until = -math.inf
        self.restore(BmcState(self._kept(self._accounts_at_start()), Lan(self.config.bmc.host)))

    # From inside

    def set_account(self, slot: int, account: Account) -> None:
        """Have *account* in a slot, unless a fault keeps what was there."""
        if self.faults.strikes(Fault.BMC_KEEPS_SETTINGS):
            self._record(Source.MACHINE, Action.BMC_SETTING_IGNORED, slot=slot)
            return
        self.accounts[slot] = account
        self._record(Source.MACHINE, Action.BMC_USER_SET, slot=slot, user=account.name)

    def move(self, lan: Lan) -> None:
        """Be elsewhere in the network, unless a fault keeps it where it is; the sessions of before are gone."""
        if self.faults.strikes(Fault.BMC_KEEPS_SETTINGS):
            self._record(Source.MACHINE, Action.BMC_SETTING_IGNORED, address=lan.address)
            return
        self.lan = lan
        self.resets += 1
        self._record(Source.MACHINE, Action.BMC_MOVED, address=lan.address)
        self.has_moved()

    def state(self) -> BmcState:
        """Return what is kept when the rack stops."""
        return BmcState(self._kept(self.accounts), self.lan)

    def restore(self, state: BmcState) -> None:
        """Continue from a saved state."""
        self.accounts = {
            slot: Account(name, password, None if privilege is None else Privilege(privilege), is_enabled)
            for slot, (name, password, privilege, is_enabled) in state.accounts.items()
        }
        is_elsewhere = state.lan.address != self.lan.address
        self.lan = state.lan
        if is_elsewhere:
            self.has_moved()

    @staticmethod
    def _kept(accounts: dict[int, Account]) -> dict[int, tuple[str, str, int | None, bool]]:
        return {
            slot: (each.name, each.password, each.privilege, each.is_enabled)
            for slot, each in accounts.items()
        }

    def _unlock(self) -> None:
        for account in self.accounts.values():
            account.bad_logins = 0
            account.locked_until = -math.inf

    def _record(self, source: Source, action: Action, **detail: DetailValue) -> None:
        self.log.append(self.config.name, source, action, **detail)


def _another_password(password: str) -> str:
    return password[::-1] + "?"
