"""Setting up the BMC of the machine from inside: a user of ours, IPMI over its network, and a place there.

First look, then act, then read everything back, for a BMC may accept what it does not do. Whether somebody can sign in
over the network is for the manager to see.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from rackhand.agent.host import BmcLan, BmcUser, Controller, Host, HostError

LOOKS = 10  # a BMC takes some seconds until it shows what it was told
LOOK_EVERY = 1.0
ANONYMOUS = 1  # IPMI 2.0, 6.9: the slot of the user without a name

Json = dict[str, Any]
Report = Callable[[int | None, str], None]


def set_up_bmc(host: Host, args: Mapping[str, Any], report: Report) -> Json:
    """Have a user *name* with *bmc_password*, IPMI spoken over the LAN, and the BMC at *lan* unless that is None.

    A user who is called so keeps the slot. Safe to repeat. A place in the network that the BMC does not take is put
    back to what it was, and `problem` says so; `lan` is where the BMC is at the end.
    """
    name, password = str(args["user"]), str(args["bmc_password"])
    wanted = None if args["lan"] is None else read_lan(args["lan"])
    controller, channel = _reach(host)
    report(None, "the user")
    slot = _choose_slot(controller.user_names(channel), name)
    _set_up_user(host, controller, channel, slot, name, password)
    report(None, "IPMI over the network")
    if not controller.has_lan_access(channel):
        controller.enable_lan_access(channel)
        if not _comes_true(host, lambda: controller.has_lan_access(channel)):
            raise HostError(f"The BMC accepted IPMI over LAN channel {channel} and does not speak it.")
    problem = ""
    if wanted is not None:
        report(None, "the address")
        problem = _move(host, controller, channel, wanted)
    lan = asdict(controller.lan(channel))
    return {"channel": channel, "slot": slot, "user": name, "lan": lan, "problem": problem}


def set_bmc_lan(host: Host, args: Mapping[str, Any], _report: Report) -> Json:
    """Have the BMC at *lan* alone; safe to repeat."""
    wanted = read_lan(args["lan"])
    controller, channel = _reach(host)
    if problem := _move(host, controller, channel, wanted):
        raise HostError(problem)
    return {"lan": asdict(controller.lan(channel))}


def read_lan(given: Mapping[str, Any]) -> BmcLan:
    """The place in a network that a command names."""
    return BmcLan(
        str(given["address"]),
        str(given["netmask"]),
        str(given["gateway"]),
        is_static=bool(given["is_static"]),
    )


def _reach(host: Host) -> tuple[Controller, int]:
    controller = host.controller()
    if controller is None:
        raise HostError("The machine has no BMC, or the ramdisk has no driver for it.")
    channel = controller.lan_channel()
    if channel is None:
        raise HostError("The BMC has no LAN channel.")
    return controller, channel


def _choose_slot(names: Mapping[int, str], name: str) -> int:
    """The slot that is ours already, else the first free one."""
    ours = [slot for slot, known in names.items() if known == name and slot != ANONYMOUS]
    free = [slot for slot, known in names.items() if not known and slot != ANONYMOUS]
    if not ours and not free:
        raise HostError(f"The BMC has no free user slot: {', '.join(filter(None, names.values()))}.")
    return (ours or free)[0]


def _set_up_user(
    host: Host, controller: Controller, channel: int, slot: int, name: str, password: str
) -> None:
    if controller.user(channel, slot).name != name:
        controller.set_user_name(slot, name)
    controller.set_user_password(slot, password)
    wanted = BmcUser(name, is_enabled=True, has_lan=True, is_administrator=True)
    controller.make_administrator(channel, slot)
    if not _comes_true(host, lambda: controller.user(channel, slot) == wanted):
        raise HostError(
            f"The BMC accepted user {name!r} in slot {slot} and shows {controller.user(channel, slot)}."
        )
    if not _comes_true(host, lambda: controller.has_password(slot, password) is not False):
        raise HostError(f"The BMC accepted the password of user {name!r} and does not take it.")


def _move(host: Host, controller: Controller, channel: int, wanted: BmcLan) -> str:
    """Set the place in the network; where the BMC does not take it, put it back and give the reason."""
    before = controller.lan(channel)
    if _is_at(before, wanted):
        return ""
    try:
        controller.set_lan(channel, wanted)
        if _comes_true(host, lambda: _is_at(controller.lan(channel), wanted)):
            return ""
        now = controller.lan(channel)
        problem = f"The BMC accepted the address {wanted.address} and is at {now.address or 'no address'}."
    except HostError as error:
        problem = f"The BMC did not take the address {wanted.address}: {error}"
    return f"{problem} {_put_back(host, controller, channel, before)}"


def _put_back(host: Host, controller: Controller, channel: int, before: BmcLan) -> str:
    try:
        if not _is_at(controller.lan(channel), before):
            controller.set_lan(channel, before)
        is_back = _comes_true(host, lambda: _is_at(controller.lan(channel), before))
    except HostError as error:
        return f"It could not be put back to {before.address or 'no address'}: {error}"
    return "It is as it was." if is_back else f"It could not be put back to {before.address or 'no address'}."


def _is_at(lan: BmcLan, wanted: BmcLan) -> bool:
    """Whether a BMC is where it should be; an address that it gets by DHCP is not for us to say."""
    if not wanted.is_static:
        return not lan.is_static
    is_there = (lan.address, lan.netmask, lan.is_static) == (wanted.address, wanted.netmask, True)
    return is_there and wanted.gateway in {"", lan.gateway}


def _comes_true(host: Host, question: Callable[[], bool]) -> bool:
    for _ in range(LOOKS):
        if question():
            return True
        host.pause(LOOK_EVERY)
    return False
