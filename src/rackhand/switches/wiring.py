"""Whether what is written down of cables can be true, judged by what switches have learnt.

Pure: no database, no device.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rackhand.hardware.interfaces import LearntMac, Neighbour


@dataclass(frozen=True)
class Cable:
    """A data connection of the server as it is written down; *mac* is that of its NIC, None when it is not known."""

    switch_id: int
    index: int
    mac: str | None


@dataclass(frozen=True)
class Learnt:
    """What one switch knows: its name, the names of its ports by index, and its tables."""

    name: str
    port_names: Mapping[int, str]
    macs: Sequence[LearntMac]
    neighbours: Sequence[Neighbour] = field(default=())

    def port(self, index: int) -> str:
        """A port as an operator reads it."""
        return f"{self.name} port {self.port_names.get(index, str(index))}"


def seen_macs(learnt: Learnt) -> Iterable[tuple[str, int]]:
    """Every address with the port on which it was heard: frames first, then LLDP."""
    for entry in learnt.macs:
        yield entry.mac, entry.index
    for neighbour in learnt.neighbours:
        if _is_mac(neighbour.port_id):
            yield neighbour.port_id, neighbour.index


def contradictions(
    cables: Sequence[Cable], learnt: Mapping[int, Learnt], owners: Mapping[str, str]
) -> list[str]:
    """What speaks against the record, one sentence each, naming both ports; empty when nothing does.

    *learnt* is by switch id, *owners* gives the name of another server by the address of its NIC. Silence proves
    nothing and contradicts nothing: a server that is off has not been heard.
    """
    found = []
    for cable in cables:
        here = learnt[cable.switch_id]
        recorded = here.port(cable.index)
        for each in learnt.values():
            for mac, index in seen_macs(each):
                if (
                    mac == cable.mac
                    and (each is not here or index != cable.index)
                    and not _is_ours(cables, learnt, each, index, mac)
                ):
                    found.append(
                        f"NIC {mac} is written down on {recorded} and was heard on {each.port(index)}."
                    )
        for mac, index in seen_macs(here):
            if index == cable.index and mac in owners:
                found.append(
                    f"{recorded} is written down for this server, and NIC {mac} of server {owners[mac]}"
                    " was heard on it."
                )
    return list(dict.fromkeys(found))


def _is_ours(
    cables: Sequence[Cable], learnt: Mapping[int, Learnt], where: Learnt, index: int, mac: str
) -> bool:
    """Whether the port is one that is written down for the same NIC (a link aggregate, say)."""
    return any(
        cable.mac == mac and learnt[cable.switch_id] is where and cable.index == index for cable in cables
    )


def _is_mac(text: str) -> bool:
    return len(text) == 17 and text.count(":") == 5  # noqa: PLR2004  # aa:bb:cc:dd:ee:ff
