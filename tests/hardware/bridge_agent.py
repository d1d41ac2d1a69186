"""What `snmpd` lacks of a switch, for its `pass_persist`: BRIDGE-MIB, Q-BRIDGE-MIB and LLDP-MIB of Linux bridges.

One bridge per VLAN: kernels without VLAN filtering have no other. PVID and membership are kept apart, as in a real
switch, and a port carries frames only when they agree: a driver that forgets one of them cuts the port off.
Run as: bridge_agent.py STATE_FILE VLAN…; stdlib only.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

NET = Path("/sys/class/net")
FIRST_BASE_PORT = 11  # neither the ifIndexes nor 1, 2, 3
FDB_OF_VLAN = 1000  # the number of a VLAN's table is not that of the VLAN
BRIDGE = (1, 3, 6, 1, 2, 1, 17)
VLAN_BRIDGE = (*BRIDGE, 7, 1)
LLDP = (1, 0, 8802, 1, 1, 2, 1)
EGRESS, UNTAGGED = (*VLAN_BRIDGE, 4, 3, 1, 2), (*VLAN_BRIDGE, 4, 3, 1, 4)
PVID = (*VLAN_BRIDGE, 4, 5, 1, 1)
LEARNED, SELF = 3, 4

Oid = tuple[int, ...]
Tree = dict[Oid, tuple[str, str]]


class Bridge:
    """The ports and VLANs; state that the kernel does not keep is in a file."""

    def __init__(self, state: Path, vlans: list[int]) -> None:
        self.state = state
        self.vlans = vlans
        self.ports = sorted(path.name for path in NET.iterdir() if path.name.startswith("port"))
        if not state.exists():
            everything = list(range(len(self.ports)))
            first, rest = vlans[0], vlans[1:]
            members = {str(first): everything, **{str(vlan): [] for vlan in rest}}
            pvids = [first] * len(self.ports)
            self.write({"pvid": pvids, "egress": members, "untagged": members})
        for place in range(len(self.ports)):
            self.plug(place)

    def write(self, state: dict[str, object]) -> None:
        self.state.write_text(json.dumps(state))

    def plug(self, place: int) -> None:
        """Put a port into the bridge that its PVID and its memberships name, or into none."""
        state = json.loads(self.state.read_text())
        vlan = str(state["pvid"][place])
        member = place in state["egress"][vlan] and place in state["untagged"][vlan]
        others = [each for each in state["untagged"] if each != vlan and place in state["untagged"][each]]
        master = ["master", f"br{vlan}"] if member and not others else ["nomaster"]
        command = ["ip", "link", "set", self.ports[place], *master]
        subprocess.run(command, check=True)

    def index(self, place: int) -> int:
        return int((NET / self.ports[place] / "ifindex").read_text())

    def tree(self) -> Tree:
        state = json.loads(self.state.read_text())
        tree: Tree = {}
        for place in range(len(self.ports)):
            base = place + FIRST_BASE_PORT
            tree[*BRIDGE, 1, 4, 1, 1, base] = "integer", str(base)
            tree[*BRIDGE, 1, 4, 1, 2, base] = "integer", str(self.index(place))
            tree[*PVID, base] = "gauge", str(state["pvid"][place])
            tree[*LLDP, 3, 7, 1, 2, 500 + place] = "integer", "5"  # interfaceName; a third way of numbering
            tree[*LLDP, 3, 7, 1, 3, 500 + place] = "string", self.ports[place]
            tree[*LLDP, 3, 7, 1, 4, 500 + place] = "string", f"to {self.ports[place]}"
        for vlan in self.vlans:
            tree[*VLAN_BRIDGE, 4, 2, 1, 3, 0, vlan] = "gauge", str(vlan + FDB_OF_VLAN)
            tree[*VLAN_BRIDGE, 4, 3, 1, 1, vlan] = "string", f"VLAN{vlan}"
            tree[*EGRESS, vlan] = "octet", bitmap(state["egress"][str(vlan)])
            tree[*UNTAGGED, vlan] = "octet", bitmap(state["untagged"][str(vlan)])
            tree[*VLAN_BRIDGE, 4, 3, 1, 5, vlan] = "integer", "1"
            for address, place, own in self.learnt(vlan):
                row = (vlan + FDB_OF_VLAN, *address)
                tree[*VLAN_BRIDGE, 2, 2, 1, 2, *row] = "integer", str(place + FIRST_BASE_PORT)
                tree[*VLAN_BRIDGE, 2, 2, 1, 3, *row] = "integer", str(SELF if own else LEARNED)
        for place, (name, chassis) in enumerate(
            (("host1", "00 00 5E 00 53 01"), ("host2", "00 00 5E 00 53 02"))
        ):
            row = (4711 + place, 500 + place, 1)  # the time it was heard, the local port, a number
            tree[*LLDP, 4, 1, 1, 4, *row] = "integer", "4"
            tree[*LLDP, 4, 1, 1, 5, *row] = "octet", chassis
            tree[*LLDP, 4, 1, 1, 6, *row] = "integer", "5"
            tree[*LLDP, 4, 1, 1, 7, *row] = "string", "eth0"
            tree[*LLDP, 4, 1, 1, 9, *row] = "string", name
        return tree

    def learnt(self, vlan: int) -> list[tuple[Oid, int, bool]]:
        """Read a bridge's table: address, place of the port, whether it is the port's own address."""
        found = []
        places = {
            int((NET / name / "brport/port_no").read_text(), 16): place
            for place, name in enumerate(self.ports)
            if (NET / name / "brport").exists() and (NET / name / "master").resolve().name == f"br{vlan}"
        }
        table = (NET / f"br{vlan}" / "brforward").read_bytes()
        for entry in (table[start : start + 16] for start in range(0, len(table), 16)):  # linux/if_bridge.h
            number = entry[6] | entry[12] << 8
            if number in places:
                found.append((tuple(entry[:6]), places[number], bool(entry[7])))
        return found

    def set(self, oid: Oid, kind: str, value: str) -> str:
        state = json.loads(self.state.read_text())
        column, row = oid[:-1], oid[-1]
        if column == PVID:
            if int(value) not in self.vlans:
                return "inconsistent-value"
            state["pvid"][row - FIRST_BASE_PORT] = int(value)
            changed = [row - FIRST_BASE_PORT]
        elif column in {EGRESS, UNTAGGED} and row in self.vlans:
            table = state["egress" if column == EGRESS else "untagged"]
            before, after = set(table[str(row)]), places_of(kind, value)
            table[str(row)] = sorted(after)
            changed = sorted(before ^ after)
        else:
            return "not-writable"
        self.write(state)
        for place in changed:
            self.plug(place)
        return "DONE"


def bitmap(places: list[int]) -> str:
    octets = bytearray(8)
    for place in places:
        base = place + FIRST_BASE_PORT
        octets[(base - 1) // 8] |= 0x80 >> (base - 1) % 8
    return octets.hex(" ").upper()


def places_of(kind: str, value: str) -> set[int]:
    """Read a PortList; `snmpd` gives it as text when all of its octets happen to be printable."""
    raw = value.strip('"')
    octets = bytes.fromhex(raw) if kind == "octet" else raw.encode("latin-1")
    return {
        8 * number + bit + 1 - FIRST_BASE_PORT
        for number, octet in enumerate(octets)
        for bit in range(8)
        if octet & 0x80 >> bit
    }


def numbers(text: str) -> Oid:
    return tuple(int(part) for part in text.strip(".").split("."))


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> None:
    bridge = Bridge(Path(sys.argv[1]), [int(vlan) for vlan in sys.argv[2:]])
    # An empty line follows the value of each SET: the end of the file is no line at all.
    while command := sys.stdin.readline():
        command = command.strip()
        if command == "PING":
            say("PONG")
        elif command in {"get", "getnext"}:
            oid, tree = numbers(sys.stdin.readline()), bridge.tree()
            found = oid if command == "get" else min((each for each in tree if each > oid), default=None)
            if found in tree:
                kind, value = tree[found]
                say("." + ".".join(map(str, found)), kind, value)
            else:
                say("NONE")
        elif command == "set":
            oid = numbers(sys.stdin.readline())
            kind, _, value = sys.stdin.readline().strip().partition(" ")
            say(bridge.set(oid, kind, value))


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    main()
