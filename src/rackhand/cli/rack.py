"""`rackhand rack`: what a person at a running virtual rack sees and does, through its control API."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # they take a while to import, which the other verbs need not wait for
    from rackhand.sim.client import RackControl
    from rackhand.sim.faults import Fault
    from rackhand.sim.wire import ActiveFault, EventView, MachineView, PduView, SwitchView

CONTROL_PORT = 8681
FOLLOW_SECONDS = 0.5

rack_app = typer.Typer(no_args_is_help=False, help="The virtual rack.")

Control = Annotated[str, typer.Option(help="The rack's control API.", envvar="RACKHAND_RACK_CONTROL")]
Device = Annotated[str, typer.Argument(help="Name of a machine, switch or PDU.")]
Machine = Annotated[str, typer.Argument(help="Name of a machine.")]
HERE = f"http://127.0.0.1:{CONTROL_PORT}"


class OnOff(StrEnum):
    """Which way something is switched."""

    ON = "on"
    OFF = "off"


@rack_app.command()
def status(control: Control = HERE) -> None:
    """Show all devices as they really are."""
    with _rack(control) as rack:
        _print_machines(rack.machines())
        _print_table(("switch", "ports", "links", "agent", "faults"), map(_switch, rack.switches()))
        _print_table(("PDU", "kind", "outlets", "on", "agent", "faults"), map(_pdu, rack.pdus()))


@rack_app.command()
def faults(control: Control = HERE) -> None:
    """List the faults that can be switched on."""
    with _rack(control) as rack:
        rows = (
            (
                fault.name,
                ", ".join(fault.devices),
                f"{fault.low:g} to {fault.high:g} {fault.unit}, usually {fault.default:g}"
                if fault.unit
                else "",
                fault.doc,
            )
            for fault in rack.faults()
        )
        _print_table(("fault", "of", "value", "what it does"), rows)


@rack_app.command()
def fault(
    device: Device,
    name: Annotated[str, typer.Argument(metavar="FAULT")],
    to: Annotated[OnOff, typer.Argument(metavar="on|off")],
    value: Annotated[float | None, typer.Option(help="In the fault's unit.")] = None,
    times: Annotated[int | None, typer.Option(help="How often it strikes before it wears off.")] = None,
    control: Control = HERE,
) -> None:
    """Switch a fault of a device on or off."""
    with _rack(control) as rack:
        seen: MachineView | SwitchView | PduView
        on = to is OnOff.ON
        if device in {switch.name for switch in rack.switches()}:
            seen = (
                rack.switch_fault_on(device, name, value=value, times=times)
                if on
                else rack.switch_fault_off(device, name)
            )
        elif device in {pdu.name for pdu in rack.pdus()}:
            seen = (
                rack.pdu_fault_on(device, name, value=value, times=times)
                if on
                else rack.pdu_fault_off(device, name)
            )
        else:
            seen = (
                rack.fault_on(device, name, value=value, times=times) if on else rack.fault_off(device, name)
            )
        print(f"Faults of {device}: {_faults(seen.faults) or 'none'}")


@rack_app.command()
def mains(
    machine: Machine,
    to: Annotated[OnOff, typer.Argument(metavar="on|off")],
    feed: Annotated[str | None, typer.Option(help="One feed; all when absent.")] = None,
    control: Control = HERE,
) -> None:
    """Plug the mains cords of a machine in or out."""
    with _rack(control) as rack:
        plug = rack.restore_mains if to is OnOff.ON else rack.pull_mains
        _print_machines([plug(machine, feed=feed)])


@rack_app.command()
def button(
    machine: Machine,
    hold: Annotated[bool, typer.Option(help="Hold it until the power is cut.")] = False,
    control: Control = HERE,
) -> None:
    """Press the power button of a machine."""
    with _rack(control) as rack:
        _print_machines([rack.press_power_button(machine, hold=hold)])


@rack_app.command()
def swap(
    switch: Annotated[str, typer.Argument(help="Name of a switch.")],
    port: Annotated[int, typer.Argument(help="Number of a port.")],
    other: Annotated[int, typer.Argument(help="Number of another.")],
    control: Control = HERE,
) -> None:
    """Swap the cables in two ports of a switch."""
    with _rack(control) as rack:
        seen = rack.swap_cables(switch, port, other)
        for number in (port, other):
            view = seen.port(number)
            print(f"{view.name}: {f'{view.device} {view.plug}' if view.device else 'nothing'}")


@rack_app.command()
def restart(
    switch: Annotated[str, typer.Argument(help="Name of a switch.")], control: Control = HERE
) -> None:
    """Restart a switch: its counters begin at zero, a crash is over."""
    with _rack(control) as rack:
        print(f"{rack.restart_switch(switch).name} was restarted.")


@rack_app.command()
def log(
    device: Annotated[str | None, typer.Option("--machine", "--device", help="Of one device only.")] = None,
    after: Annotated[int, typer.Option(help="Number of the last event that is known.")] = 0,
    follow: Annotated[bool, typer.Option(help="Go on with what happens.")] = False,
    control: Control = HERE,
) -> None:
    """Print what really happened."""
    with _rack(control) as rack:
        while True:
            for event in rack.log(after=after, device=device):
                print(_event(event), flush=True)
                after = event.seq
            if not follow:
                return
            time.sleep(FOLLOW_SECONDS)


@contextlib.contextmanager
def _rack(url: str) -> "Iterator[RackControl]":
    """Speak with the rack; what it refuses is printed, and ends the program with status 1."""
    import httpx

    from rackhand.sim.client import ControlError, RackControl

    try:
        with RackControl(url) as rack:
            yield rack
    except ControlError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    except httpx.TransportError as error:
        print(f"No rack answers at {url}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:  # the usual end of following the log
        raise typer.Exit from None


def _machine(view: "MachineView") -> tuple[str, ...]:
    return (
        view.name,
        view.power,
        view.phase,
        view.booted_from or "",
        ", ".join(view.lost_feeds),
        _faults(view.faults),
    )


def _print_machines(views: "list[MachineView]") -> None:
    _print_table(("machine", "power", "doing", "booted from", "lost feeds", "faults"), map(_machine, views))


def _switch(view: "SwitchView") -> tuple[str, ...]:
    return (
        view.name,
        str(len(view.ports)),
        str(sum(port.link for port in view.ports)),
        "crashed" if view.crashed else "answers" if view.answers else "silent",
        _faults(view.faults),
    )


def _pdu(view: "PduView") -> tuple[str, ...]:
    return (
        view.name,
        view.kind,
        str(len(view.outlets)),
        str(sum(outlet.delivers for outlet in view.outlets)),
        "answers" if view.answers else "silent",
        _faults(view.faults),
    )


def _faults(active: "dict[Fault, ActiveFault]") -> str:
    shown = []
    for name, setting in active.items():
        left = "" if setting.times is None else f", {setting.times} times"
        shown.append(f"{name} ({setting.value:g}{left})")
    return ", ".join(shown)


def _event(event: "EventView") -> str:
    when = datetime.fromtimestamp(event.time, UTC).strftime("%H:%M:%S.%f")[:-3]
    detail = " ".join(f"{name}={value}" for name, value in event.detail.items())
    return f"{event.seq:>6} {when} {event.device:<12} {event.source:<8} {event.action} {detail}".rstrip()


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
