# ruff: noqa: PLR2004  # byte values and offsets of the specification
"""The IPMI face of a machine: an RMCP+ server on one UDP port, with sessions, over the machine's BMC.

Layouts: IPMI 2.0 specification, revision 1.1, sections 13.17 to 13.24.
"""

import asyncio
import hmac
import os
import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import cast

from rackhand.sim import ipmi_commands, rmcp
from rackhand.sim.bmc import Bmc
from rackhand.sim.config import Privilege
from rackhand.sim.events import Action, Source
from rackhand.sim.faults import Fault
from rackhand.sim.rmcp import CipherSuite, Keys, PayloadType, Status
from rackhand.sim.sol import SolPayload

MAX_SESSIONS = 4  # the fewest that real BMCs have
IDLE_SECONDS = 60.0  # simulated; section 6.12.15: 60 s, give or take 3
HANDSHAKE_SECONDS = 10.0  # real; a half-open session that goes no further frees its slot
ABANDONED_SECONDS = 3.0  # real; longer than the usual clients wait before they send a message again
CONSOLE_SECONDS = 60.0  # real: clients keep a console open by a clock of their own
WINDOW = 16  # sequence numbers that may come late, section 6.12.13

Address = tuple[str, int]


@dataclass
class _Session:
    """A session, from Open Session Request on; it is active when it has `keys` and `rights`.

    FreeIPMI repeats a handshake message with another tag, so a message is known by what follows its tag.
    """

    id: int
    remote_id: int
    suite: CipherSuite
    address: Address
    open_request: bytes
    used_at: float  # simulated seconds
    random: bytes = field(default_factory=lambda: os.urandom(16))
    remote_random: bytes = b""
    role: int = 0
    user: str = ""
    password: bytes = b""
    answers: dict[bytes, bytes] = field(default_factory=dict)  # to handshake messages, both without their tag
    keys: Keys | None = None
    rights: ipmi_commands.SessionRights | None = None
    sent: int = 0
    highest: int = 0
    replies: OrderedDict[int, bytes] = field(default_factory=OrderedDict)  # by sequence number, the last few
    last_act: tuple[rmcp.Request, bytes] | None = None

    @property
    def named_role(self) -> bytes:
        """Role, length of the name and name, as the key exchange hashes them."""
        name = self.user.encode("latin-1", "replace")
        return bytes((self.role, len(name))) + name


class IpmiFace(asyncio.DatagramProtocol):
    """Answers the datagrams of one port. Everything it knows of the machine, it asks the BMC."""

    def __init__(self, bmc: Bmc) -> None:
        self.bmc = bmc
        self._transport: asyncio.DatagramTransport | None = None
        self._sessions: dict[int, _Session] = {}
        self._life = bmc.life
        self._memory = ipmi_commands.Memory()
        self._address = ""
        self._sol: SolPayload | None = None
        self._sol_session: _Session | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        # asyncio's own transport is a DatagramTransport by behaviour, not by class (Python 3.11).
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._address = transport.get_extra_info("sockname")[0]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Answer at once, late, wrongly or not at all, as the faults say."""
        if self.bmc.is_silent or not self._is_here or self.bmc.loses_packet():
            return
        late = self.bmc.lateness()
        if late:
            asyncio.get_running_loop().call_later(late, self._answer, data, addr)
        else:
            self._answer(data, addr)

    @property
    def _is_here(self) -> bool:
        """Whether this socket is where the BMC is, and IPMI is spoken there."""
        return self.bmc.lan.speaks_ipmi and self.bmc.lan.address == self._address

    def _answer(self, data: bytes, address: Address) -> None:
        if self.bmc.is_silent or self._transport is None or self._transport.is_closing():
            return
        if self._life != self.bmc.life:
            self._life = self.bmc.life
            self._sessions.clear()
            self._memory.console = None
            self._settle_console()
        try:
            answer = self._reply(data, address)
        except rmcp.MalformedError:
            return  # as the specification wants: silently discarded
        if answer is None:
            return
        if self.bmc.loses_packet():
            return
        if self.bmc.talks_garbage():
            answer = rmcp.RMCP_IPMI + self.bmc.random.randbytes(len(answer))
        self._transport.sendto(answer, address)

    def _reply(self, data: bytes, address: Address) -> bytes | None:
        datagram = rmcp.parse(data)
        if isinstance(datagram, rmcp.Ping):
            return rmcp.pong(datagram)
        match datagram.payload_type:
            case PayloadType.IPMI | PayloadType.SOL if datagram.session_id:
                answer = self._reply_in_session(datagram, address)
            case PayloadType.IPMI:
                answer = self._reply_outside(datagram)
            case PayloadType.OPEN_SESSION_REQUEST:
                answer = rmcp.wrap(
                    self._open_session(datagram.payload, address), PayloadType.OPEN_SESSION_RESPONSE
                )
            case PayloadType.RAKP_1:
                answer = rmcp.wrap(self._answer_rakp_1(datagram.payload), PayloadType.RAKP_2)
            case PayloadType.RAKP_3:
                answer = self._answer_rakp_3(datagram.payload)
            case _:
                answer = None
        return answer

    # Commands

    def _reply_outside(self, datagram: rmcp.Datagram) -> bytes:
        request = rmcp.parse_request(datagram.payload)
        code, data = self._run(request, None)
        message = request.answer(code, data)
        return rmcp.wrap_version_1(message) if datagram.version_1 else rmcp.wrap(message, PayloadType.IPMI)

    def _reply_in_session(self, datagram: rmcp.Datagram, address: Address) -> bytes | None:
        self._forget_idle_sessions()
        session = self._sessions.get(datagram.session_id)
        if session is None or session.keys is None or session.rights is None:
            return None
        message = rmcp.open_payload(datagram, session.keys)
        if datagram.sequence in session.replies:
            return session.replies[datagram.sequence]
        if datagram.sequence + WINDOW <= session.highest:
            return None
        session.highest = max(session.highest, datagram.sequence)
        session.used_at = self._now()
        session.address = address
        kind = PayloadType(datagram.payload_type)
        if kind is PayloadType.SOL:
            answer = self._sol.receive(message) if self._sol and session is self._sol_session else None
        else:
            answer = self._run_once(rmcp.parse_request(message), session)
        sealed = None if answer is None else _seal(answer, kind, session, session.keys)
        if sealed is not None:
            session.replies[datagram.sequence] = sealed
        if len(session.replies) > WINDOW:
            session.replies.popitem(last=False)
        if session.rights.closed:
            self._close(session, why="closed by the client")
        self._settle_console()
        return sealed

    def _settle_console(self) -> None:
        """Make the SOL payload that of the session that the commands have given it to; tell who has lost it."""
        holder = self._memory.console
        before = self._sol_session
        if before is not None and before.rights is holder:
            return
        if self._sol is not None and before is not None:
            self._sol.stop(tells=before.id in self._sessions)
            self._record(Action.CONSOLE_CLOSED, user=before.user)
        session = next((each for each in self._sessions.values() if each.rights is holder), None)
        self._sol = self._sol_session = None
        if holder is not None and session is not None:
            self._sol_session = session
            self._sol = SolPayload(self.bmc.console, lambda packet: self._send_sol(session, packet))
            self._record(Action.CONSOLE_OPENED, user=session.user)

    def _send_sol(self, session: _Session, packet: bytes) -> None:
        """Send a packet that no datagram has asked for; what goes wrong on the way happens to it too."""
        if self._transport is None or self._transport.is_closing() or session.keys is None:
            return
        if self.bmc.is_silent or self._life != self.bmc.life or self.bmc.loses_packet():
            return
        self._transport.sendto(_seal(packet, PayloadType.SOL, session, session.keys), session.address)

    def _run_once(self, request: rmcp.Request, session: _Session) -> bytes:
        """Do a request; one that acts is not done again when a client repeats it in a new datagram.

        ipmitool repeats a request with a new session sequence number and the same requester sequence number, by
        which it is known. ipmipower takes a new requester sequence number too: its repetition looks like a new
        request and is done again, here as on a real BMC.
        """
        command = ipmi_commands.COMMANDS.get((request.netfn, request.command))
        acts = command is not None and command.acts
        if acts and session.last_act is not None and session.last_act[0] == request:
            return session.last_act[1]
        code, data = self._run(request, session.rights)
        answer = request.answer(code, data)
        session.last_act = (request, answer) if acts else None
        return answer

    def _run(
        self, request: rmcp.Request, rights: ipmi_commands.SessionRights | None
    ) -> tuple[ipmi_commands.Code, bytes]:
        call = ipmi_commands.Call(self.bmc, self._memory, rights, request.data)
        return ipmi_commands.run(call, request.netfn, request.command)

    # Sessions

    def _open_session(self, payload: bytes, address: Address) -> bytes:
        if len(payload) < 32:
            raise rmcp.MalformedError("cut short")
        tag, privilege = payload[0], payload[1] & 0x0F
        (remote_id,) = struct.unpack_from("<I", payload, 4)
        suite = rmcp.find_suite(payload[12] & 0x3F, payload[20] & 0x3F, payload[28] & 0x3F)
        if suite is None:
            return _failure(tag, Status.NO_CIPHER_SUITE, remote_id)
        if privilege > Privilege.ADMIN:
            return _failure(tag, Status.INVALID_ROLE, remote_id)
        self._forget_idle_sessions()
        session = self._find_half_open(payload, address)
        if session is None:
            if len(self._sessions) >= self.bmc.session_slots(MAX_SESSIONS):
                self._record(Action.SESSION_REFUSED, why="no free slot")
                return _failure(tag, Status.NO_RESOURCES, remote_id)
            session = _Session(self._take_id(), remote_id, suite, address, payload, self._now())
            self._sessions[session.id] = session
        algorithms = payload[8:32]
        # FreeIPMI takes nothing but the level that it asked for; 0 asks for the highest.
        granted = privilege or Privilege.ADMIN
        return struct.pack("<BBBBII", tag, Status.OK, granted, 0, remote_id, session.id) + algorithms

    def _answer_rakp_1(self, payload: bytes) -> bytes:
        if len(payload) < 28 or len(payload) < 28 + payload[27]:
            raise rmcp.MalformedError("cut short")
        tag = payload[0]
        session = self._handshake(payload)
        if session is None:
            return _failure(tag, Status.INVALID_SESSION_ID, 0)
        if payload[1:] in session.answers:
            return payload[:1] + session.answers[payload[1:]]
        if session.keys is not None:  # anybody can send this; a session that is active stays as it is
            return _failure(tag, Status.INVALID_SESSION_ID, session.remote_id)
        session.answers.clear()  # another message 1 starts the handshake again
        session.remote_random = payload[8:24]
        session.role = payload[24]
        session.user = payload[28 : 28 + payload[27]].decode("latin-1")
        account = self.bmc.user(session.user)
        status = Status.OK
        why = ""
        if account is None:
            status, why = Status.UNAUTHORIZED_NAME, "unknown user"
        elif self.bmc.is_locked(session.user):
            status, why = Status.UNAUTHORIZED_NAME, "locked"
        elif not Privilege.USER <= session.role & 0x0F <= account.privilege:
            status, why = Status.UNAUTHORIZED_ROLE, "privilege"
        if account is None or status is not Status.OK:
            self.bmc.refuse_login(session.user, Source.IPMI, why=why, counts=False)
            del self._sessions[session.id]
            return _failure(tag, status, session.remote_id)
        session.password = account.password.encode()[:20]
        guid = self.bmc.config.uuid.bytes_le
        proof = session.suite.hmac(
            session.password,
            struct.pack("<II", session.remote_id, session.id)
            + session.remote_random
            + session.random
            + guid
            + session.named_role,
        )
        answer = struct.pack("<BBxxI", tag, Status.OK, session.remote_id) + session.random + guid + proof
        session.answers[payload[1:]] = answer[1:]
        self._await_rakp_3(session)
        return answer

    def _await_rakp_3(self, session: _Session) -> None:
        """Count a client that goes no further as a bad login.

        With a wrong password neither ipmitool 1.8.19 nor FreeIPMI 1.6.10 sends message 3: they see from
        message 2 that the passwords differ, and go away. Section 13.22 wants a message 3 with an error.
        """
        patience = ABANDONED_SECONDS + (self.bmc.faults.value(Fault.SLOW) or 0)
        asyncio.get_running_loop().call_later(patience, self._give_up_on, session)

    def _give_up_on(self, session: _Session) -> None:
        if session.keys is None and self._sessions.get(session.id) is session and self._life == self.bmc.life:
            self.bmc.refuse_login(session.user, Source.IPMI, why="wrong password")
            del self._sessions[session.id]

    def _answer_rakp_3(self, payload: bytes) -> bytes | None:
        if len(payload) < 8:
            raise rmcp.MalformedError("cut short")
        tag, status = payload[0], payload[1]
        session = self._handshake(payload)
        if session is not None and payload[1:] in session.answers:
            return rmcp.wrap(payload[:1] + session.answers[payload[1:]], PayloadType.RAKP_4)
        if session is None or session.keys is not None or not session.remote_random:
            return rmcp.wrap(_failure(tag, Status.INVALID_SESSION_ID, 0), PayloadType.RAKP_4)
        if status != Status.OK:
            # The client says that our proof in message 2 is wrong: it has another password. Section 13.22
            # wants no answer to that.
            self.bmc.refuse_login(session.user, Source.IPMI, why="wrong password")
            del self._sessions[session.id]
            return None
        signed = session.random + struct.pack("<I", session.remote_id) + session.named_role
        if not hmac.compare_digest(session.suite.hmac(session.password, signed), payload[8:]):
            self.bmc.refuse_login(session.user, Source.IPMI, why="wrong password")
            del self._sessions[session.id]
            return rmcp.wrap(_failure(tag, Status.INVALID_INTEGRITY, session.remote_id), PayloadType.RAKP_4)
        answer = self._activate(session, tag)
        session.answers[payload[1:]] = answer[1:]
        return rmcp.wrap(answer, PayloadType.RAKP_4)

    def _activate(self, session: _Session, tag: int) -> bytes:
        """Derive the keys, grant the rights, and return message 4."""
        suite = session.suite
        session_key = suite.hmac(
            session.password, session.remote_random + session.random + session.named_role
        )
        session.keys = Keys.derive(suite, session_key)
        session.rights = ipmi_commands.SessionRights(
            session.user, Privilege(session.role & 0x0F), session_id=session.id
        )
        session.used_at = self._now()
        self.bmc.accept_login(session.user, Source.IPMI)
        guid = self.bmc.config.uuid.bytes_le
        check = suite.check(session_key, session.remote_random + struct.pack("<I", session.id) + guid)
        return struct.pack("<BBxxI", tag, Status.OK, session.remote_id) + check

    def _handshake(self, payload: bytes) -> _Session | None:
        (session_id,) = struct.unpack_from("<I", payload, 4)
        return self._sessions.get(session_id)

    def _find_half_open(self, payload: bytes, address: Address) -> _Session | None:
        for session in self._sessions.values():
            if (
                session.open_request[1:] == payload[1:]
                and session.address == address
                and session.keys is None
            ):
                return session
        return None

    def _forget_idle_sessions(self) -> None:
        idle = self.bmc.idle_seconds(IDLE_SECONDS)
        half_open = self.bmc.real_to_simulated(HANDSHAKE_SECONDS)
        for session in list(self._sessions.values()):
            allowed = half_open if session.keys is None else idle
            if session is self._sol_session:
                allowed = max(idle, self.bmc.real_to_simulated(CONSOLE_SECONDS))
            if self._now() - session.used_at > allowed:
                self._close(session, why="idle")

    def _close(self, session: _Session, *, why: str) -> None:
        del self._sessions[session.id]
        self._record(Action.SESSION_CLOSED, user=session.user, why=why)
        if session.rights is not None and self._memory.console is session.rights:
            self._memory.console = None
            self._settle_console()

    def _take_id(self) -> int:
        # An id that no earlier life has used, so that a client of that life is not answered by mistake.
        while True:
            candidate = int.from_bytes(os.urandom(4), "little")
            if candidate and candidate not in self._sessions:
                return candidate

    def _now(self) -> float:
        return self.bmc.machine.clock.now()

    def _record(self, action: Action, **detail: str) -> None:
        self.bmc.log.append(self.bmc.config.name, Source.IPMI, action, **detail)


def _seal(message: bytes, kind: PayloadType, session: _Session, keys: Keys) -> bytes:
    session.sent += 1
    return rmcp.seal(
        message, session_id=session.remote_id, sequence=session.sent, keys=keys, payload_type=kind
    )


def _failure(tag: int, status: Status, remote_id: int) -> bytes:
    return struct.pack("<BBxxI", tag, status, remote_id)
