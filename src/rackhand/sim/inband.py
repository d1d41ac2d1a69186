"""A BMC of the rack as its own machine reaches it. The agent asks in a thread; the BMC lives on the rack's loop."""

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rackhand.agent.host import BmcLan, BmcUser, HostError
from rackhand.sim.bmc import Account, Bmc, Lan
from rackhand.sim.config import Privilege
from rackhand.sim.faults import Fault

CHANNEL = 1
LOOK_EVERY = 0.05  # real seconds; whether the machine still lives
MAX_PASSWORD = 16
SOMEBODY = "somebody"

T = TypeVar("T")


@dataclass(frozen=True)
class SimulatedController:
    """See `Controller`; *on_loop* runs something on the rack's loop, *check* raises when this boot is over."""

    bmc: Bmc
    on_loop: Callable[[Callable[[], None]], None]
    check: Callable[[], None]

    def lan_channel(self) -> int | None:
        """See `Controller`."""
        self.check()
        return CHANNEL

    def user_names(self, channel: int) -> dict[int, str]:
        """See `Controller`."""
        is_full = self.bmc.faults.is_on(Fault.BMC_USERS_FULL)
        return self._ask(
            channel,
            lambda: {
                slot: each.name or (f"{SOMEBODY}{slot}" if is_full else "")
                for slot, each in self.bmc.accounts.items()
            },
        )

    def user(self, channel: int, slot: int) -> BmcUser:
        """See `Controller`."""
        account = self._ask(channel, lambda: self._account(slot))
        return BmcUser(
            account.name,
            account.is_enabled,
            account.privilege is not None,
            account.privilege is Privilege.ADMIN,
        )

    def set_user_name(self, slot: int, name: str) -> None:
        """See `Controller`."""
        self._set_account(slot, name=name)

    def set_user_password(self, slot: int, password: str) -> None:
        """See `Controller`."""
        if len(password) > MAX_PASSWORD:
            raise HostError(f"The password has {len(password)} characters.")
        self._set_account(slot, password=password)

    def has_password(self, slot: int, password: str) -> bool | None:
        """See `Controller`."""
        return self._ask(CHANNEL, lambda: self._account(slot).password == password)

    def make_administrator(self, channel: int, slot: int) -> None:
        """See `Controller`."""
        self._ask(channel, lambda: None)
        self._set_account(slot, is_enabled=True, privilege=Privilege.ADMIN)

    def has_lan_access(self, channel: int) -> bool:
        """See `Controller`."""
        return self._ask(channel, lambda: self.bmc.lan.speaks_ipmi)

    def enable_lan_access(self, channel: int) -> None:
        """See `Controller`."""
        self._ask(channel, lambda: self.bmc.move(dataclasses.replace(self.bmc.lan, speaks_ipmi=True)))

    def lan(self, channel: int) -> BmcLan:
        """See `Controller`."""
        lan = self._ask(channel, lambda: self.bmc.lan)
        return BmcLan(lan.address, lan.netmask, lan.gateway, is_static=lan.is_static)

    def set_lan(self, channel: int, lan: BmcLan) -> None:
        """See `Controller`; who serves addresses gives a BMC the one that it came with."""

        def move() -> None:
            now = self.bmc.lan
            given = Lan(self.bmc.config.bmc.host, speaks_ipmi=now.speaks_ipmi)
            wanted = Lan(lan.address, lan.netmask, lan.gateway or now.gateway, True, now.speaks_ipmi)
            self.bmc.move(wanted if lan.is_static else given)

        self._ask(channel, move)

    def _set_account(self, slot: int, **changes: object) -> None:
        def change() -> None:
            account = self._account(slot)
            self.bmc.set_account(slot, dataclasses.replace(account, **changes))  # type: ignore[arg-type]  # its fields

        self._ask(CHANNEL, change)

    def _account(self, slot: int) -> Account:
        account = self.bmc.accounts.get(slot)
        if account is None:
            raise HostError(f"The BMC has no user slot {slot}.")
        return account

    def _ask(self, channel: int, question: Callable[[], T]) -> T:
        """Ask the BMC on the rack's loop and wait for the answer, while the machine has power."""
        self.check()
        if channel != CHANNEL:
            raise HostError(f"The BMC has no channel {channel}.")
        done = threading.Event()
        answers: list[T] = []
        refusals: list[HostError] = []

        def ask() -> None:
            try:
                answers.append(question())
            except HostError as error:
                refusals.append(error)
            finally:
                done.set()

        self.on_loop(ask)
        while not done.wait(LOOK_EVERY):
            self.check()
        if refusals:
            raise refusals[0]
        return answers[0]
