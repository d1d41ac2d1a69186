# ruff: noqa: PLR2004  # byte values and offsets of the specification
"""The IPMI commands that a BMC of the rack answers: one table, and a function for each.

Source of every layout here: IPMI 2.0 specification, revision 1.1, chapters 20 to 35.
"""

import ipaddress
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from rackhand.sim import ipmi_records, rmcp
from rackhand.sim.bmc import MAX_USERS, Account, Bmc, NotAccepted, PowerCommand, Reason
from rackhand.sim.config import BootMode, Privilege, RestorePolicy
from rackhand.sim.events import Source
from rackhand.sim.machine import BootDevice, BootOverride, Power, Reading

CHANNEL = 1
DOCUMENTATION_IANA = 32473  # enterprise number for examples, RFC 5612
IDENTIFY_SECONDS = 15
MAX_READ = 64
SOL_BYTES = 255  # of a SOL payload, either way


class Code(IntEnum):
    """Completion codes, table 5-2."""

    OK = 0x00
    PARAMETER_NOT_SUPPORTED = 0x80
    PAYLOAD_STATE = 0x80  # of Activate Payload: active already; of Deactivate Payload: not active
    BUSY = 0xC0
    INVALID_COMMAND = 0xC1
    RESERVATION_CANCELLED = 0xC5
    LENGTH_INVALID = 0xC7
    LENGTH_LIMIT = 0xC8
    OUT_OF_RANGE = 0xC9
    NOT_PRESENT = 0xCB
    INVALID_FIELD = 0xCC
    INSUFFICIENT_PRIVILEGE = 0xD4
    WRONG_STATE = 0xD5
    DISABLED = 0xD6


REASON_CODES: Final = {
    Reason.BUSY: Code.BUSY,
    Reason.REFUSED: Code.DISABLED,
    Reason.WRONG_STATE: Code.WRONG_STATE,
}
POWER_COMMANDS: Final = {
    0: PowerCommand.OFF,
    1: PowerCommand.ON,
    2: PowerCommand.CYCLE,
    3: PowerCommand.RESET,
    4: PowerCommand.NMI,
    5: PowerCommand.SOFT_OFF,
}
BOOT_DEVICES: Final = {1: BootDevice.PXE, 2: BootDevice.DISK, 5: BootDevice.CDROM, 6: BootDevice.SETUP}
BOOT_SELECTORS: Final = {device: selector for selector, device in BOOT_DEVICES.items()}
RESTORE_POLICIES: Final = {
    RestorePolicy.ALWAYS_OFF: 0b00,
    RestorePolicy.PREVIOUS: 0b01,
    RestorePolicy.ALWAYS_ON: 0b10,
}


class CommandFailed(Exception):  # a completion code, not an accident
    """The command is answered with *code* and no data."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass
class SessionRights:
    """What a command may see and change of the session that it came in."""

    user: str
    limit: Privilege
    privilege: Privilege = Privilege.USER
    closed: bool = False
    session_id: int = 0


@dataclass
class Memory:
    """What the commands of one BMC remember between requests; *console* is the session that has the SOL payload."""

    reservation: int = 0
    console: SessionRights | None = None
    boot_acknowledge: bytes = b"\x00\x00"


@dataclass(frozen=True)
class Call:
    """One command: the BMC that it came to, its session (None before there is one) and its data."""

    bmc: Bmc
    memory: Memory
    rights: SessionRights | None
    data: bytes

    def need(self, length: int) -> None:
        """Fail unless there are *length* bytes of data at least."""
        if len(self.data) < length:
            raise CommandFailed(Code.LENGTH_INVALID)


@dataclass(frozen=True)
class Command:
    """How a command is answered; *privilege* None means before any session too.

    A command that *acts* is not done again when the same request comes twice.
    """

    run: Callable[[Call], bytes]
    privilege: Privilege | None = Privilege.USER
    acts: bool = field(default=False)


def run(call: Call, netfn: int, number: int) -> tuple[Code, bytes]:
    """Do a command and return its completion code and data."""
    command = COMMANDS.get((netfn, number))
    if command is None:
        # Before a session nothing but the table's own is answered, not even with "unknown".
        return (Code.INVALID_COMMAND if call.rights else Code.INSUFFICIENT_PRIVILEGE), b""
    if command.privilege is not None and (call.rights is None or call.rights.privilege < command.privilege):
        return Code.INSUFFICIENT_PRIVILEGE, b""
    try:
        return Code.OK, command.run(call)
    except CommandFailed as failure:
        return failure.code, b""
    except NotAccepted as refusal:
        return REASON_CODES[refusal.reason], b""


# Chassis, chapter 28


def _chassis_capabilities(_call: Call) -> bytes:
    return bytes((0x00, 0x20, 0x20, 0x20, 0x20))


def _chassis_status(call: Call) -> bytes:
    machine = call.bmc.machine
    power = 0x01 if call.bmc.power_state() is Power.ON else 0x00
    power |= RESTORE_POLICIES[machine.config.restore_policy] << 5
    return bytes((power, 0x00, 0x40 | (0x20 if machine.identify else 0x00), 0x00))


def _chassis_control(call: Call) -> bytes:
    call.need(1)
    command = POWER_COMMANDS.get(call.data[0] & 0x0F)
    if command is None:
        raise CommandFailed(Code.INVALID_FIELD)
    call.bmc.set_power(command, Source.IPMI)
    return b""


def _chassis_identify(call: Call) -> bytes:
    seconds = call.data[0] if call.data else IDENTIFY_SECONDS
    force = len(call.data) > 1 and bool(call.data[1] & 0x01)
    call.bmc.set_identify(
        Source.IPMI, on=force or seconds > 0, seconds=None if force or not seconds else seconds
    )
    return b""


def _restart_cause(_call: Call) -> bytes:
    return bytes((0x01, CHANNEL))  # chassis control command


def _set_boot_options(call: Call) -> bytes:
    call.need(1)
    parameter, data = call.data[0] & 0x7F, call.data[1:]
    if parameter == 0x04:
        call.memory.boot_acknowledge = data[:2].ljust(2, b"\x00")
    elif parameter == 0x05:
        call.bmc.set_boot_override(_parse_boot_flags(data), Source.IPMI)
    elif parameter not in {0x00, 0x03}:
        raise CommandFailed(Code.PARAMETER_NOT_SUPPORTED)
    return b""


def _parse_boot_flags(data: bytes) -> BootOverride | None:
    if len(data) < 2:
        raise CommandFailed(Code.LENGTH_INVALID)
    selector = data[1] >> 2 & 0x0F
    if not data[0] & 0x80 or not selector:
        return None
    if selector not in BOOT_DEVICES:
        raise CommandFailed(Code.INVALID_FIELD)
    mode = BootMode.UEFI if data[0] & 0x20 else BootMode.LEGACY
    return BootOverride(BOOT_DEVICES[selector], mode, persistent=bool(data[0] & 0x40))


def _get_boot_options(call: Call) -> bytes:
    call.need(3)
    parameter = call.data[0] & 0x7F
    values = {
        0x00: b"\x00",
        0x03: b"\x00",
        0x04: call.memory.boot_acknowledge,
        0x05: _boot_flags(call.bmc.machine.override),
    }
    if parameter not in values:
        raise CommandFailed(Code.PARAMETER_NOT_SUPPORTED)
    return bytes((0x01, parameter)) + values[parameter]


def _boot_flags(override: BootOverride | None) -> bytes:
    if override is None:
        return bytes(5)
    flags = 0x80 | (0x40 if override.persistent else 0) | (0x20 if override.mode is BootMode.UEFI else 0)
    return bytes((flags, BOOT_SELECTORS[override.device] << 2, 0, 0, 0))


# The BMC itself, chapter 20


def _device_id(_call: Call) -> bytes:
    support = 0x8F  # chassis, FRU, SEL, SDR repository, sensors
    maker = DOCUMENTATION_IANA.to_bytes(3, "little")
    return bytes((0x20, 0x81, 0x03, 0x10, 0x02, support)) + maker + b"\x01\x00" + bytes(4)


def _reset_bmc(call: Call) -> bytes:
    call.bmc.reset(Source.IPMI)
    return b""


def _self_test(_call: Call) -> bytes:
    return b"\x55\x00"


def _guid(call: Call) -> bytes:
    return call.bmc.config.uuid.bytes_le  # SMBIOS order, as most BMCs send it


# Sessions and users, chapter 22


def _channel_authentication(call: Call) -> bytes:
    call.need(2)
    extended = bool(call.data[0] & 0x80)
    kinds = 0x80 if extended else 0x00  # no authentication type of IPMI 1.5
    return bytes((CHANNEL, kinds, 0x04, 0x02 if extended else 0x00)) + bytes(4)


def _cipher_suites(call: Call) -> bytes:
    call.need(3)
    records = b"".join(suite.record() for suite in rmcp.CIPHER_SUITES)
    start = (call.data[2] & 0x3F) * 16
    return bytes((CHANNEL,)) + records[start : start + 16]


def _set_privilege(call: Call) -> bytes:
    call.need(1)
    assert call.rights is not None  # noqa: S101  # the table asks for a session
    wanted = call.data[0] & 0x0F
    if wanted:
        if wanted > call.rights.limit:
            raise CommandFailed(Code.PARAMETER_NOT_SUPPORTED)  # 80h here: not available for this user
        call.rights.privilege = Privilege(max(wanted, Privilege.USER))
    return bytes((call.rights.privilege,))


def _close_session(call: Call) -> bytes:
    assert call.rights is not None  # noqa: S101  # the table asks for a session
    call.rights.closed = True
    return b""


def _channel_access(_call: Call) -> bytes:
    return bytes((0x02, Privilege.ADMIN))


def _channel_information(_call: Call) -> bytes:
    return bytes((CHANNEL, 0x04, 0x01, 0x80, 0xF2, 0x1B, 0x00, 0x00, 0x00))


def _account(call: Call, number: int) -> Account:
    account = call.bmc.accounts.get(number & 0x3F)
    if account is None:
        raise CommandFailed(Code.OUT_OF_RANGE)
    return account


def _user_access(call: Call) -> bytes:
    call.need(2)
    account = _account(call, call.data[1])
    enabled = sum(each.is_enabled for each in call.bmc.accounts.values())
    status = 0x40 if account.is_enabled else 0x80
    access = 0x0F if account.privilege is None else 0x30 | account.privilege
    return bytes((MAX_USERS, status | enabled, 0x00, access))


def _user_name(call: Call) -> bytes:
    call.need(1)
    return _account(call, call.data[0]).name.encode()[:16].ljust(16, b"\x00")


# Sensors and storage, chapters 31 to 35


def _sensor(call: Call) -> Reading:
    call.need(1)
    readings = call.bmc.machine.readings()
    if not 1 <= call.data[0] <= len(readings):
        raise CommandFailed(Code.NOT_PRESENT)
    return readings[call.data[0] - 1]


def _sensor_reading(call: Call) -> bytes:
    reading = _sensor(call)
    if reading.value is None:
        return bytes((0x00, 0xE0, 0xC0))
    return bytes(
        (ipmi_records.raw(reading, reading.value), 0xC0, 0xC0 | ipmi_records.limits_crossed(reading))
    )


def _sensor_limits(call: Call) -> bytes:
    return ipmi_records.limits(_sensor(call))


def _sensor_hysteresis(call: Call) -> bytes:
    _sensor(call)
    return b"\x00\x00"


def _sensor_events(call: Call) -> bytes:
    _sensor(call)
    return b"\x40\x00\x00\x00\x00"


def _sdr_information(call: Call) -> bytes:
    count = len(call.bmc.machine.readings())
    return struct.pack("<BHHIIB", 0x51, count, 0xFFFF, 0, 0, 0x22)


def _reserve(call: Call) -> bytes:
    call.memory.reservation = call.memory.reservation % 0xFFFF + 1
    return struct.pack("<H", call.memory.reservation)


def _get_sdr(call: Call) -> bytes:
    call.need(6)
    reservation: int
    record_id: int
    reservation, record_id = struct.unpack_from("<HH", call.data)
    offset, count = call.data[4], call.data[5]
    if offset and reservation != call.memory.reservation:
        raise CommandFailed(Code.RESERVATION_CANCELLED)
    records = ipmi_records.sensor_records(call.bmc.machine.readings())
    number = {0: 1, 0xFFFF: len(records)}.get(record_id, record_id)
    if not 1 <= number <= len(records):
        raise CommandFailed(Code.NOT_PRESENT)
    record = records[number - 1]
    following = number + 1 if number < len(records) else 0xFFFF
    return struct.pack("<H", following) + record[offset : offset + count]


def _fru_size(call: Call) -> bytes:
    _check_fru(call)
    return struct.pack("<HB", len(ipmi_records.fru_information(call.bmc.config)), 0x00)


def _read_fru(call: Call) -> bytes:
    call.need(4)
    _check_fru(call)
    offset, count = struct.unpack_from("<HB", call.data, 1)
    data = ipmi_records.fru_information(call.bmc.config)
    if offset >= len(data):
        raise CommandFailed(Code.OUT_OF_RANGE)
    if count > MAX_READ:
        raise CommandFailed(Code.LENGTH_LIMIT)
    part = data[offset : offset + count]
    return bytes((len(part),)) + part


def _check_fru(call: Call) -> None:
    call.need(1)
    if call.data[0] != 0:
        raise CommandFailed(Code.NOT_PRESENT)


def _sel_information(_call: Call) -> bytes:
    return struct.pack("<BHHIIB", 0x51, 0, 0xFFFF, 0, 0, 0x02)


def _sel_entry(_call: Call) -> bytes:
    raise CommandFailed(Code.NOT_PRESENT)


def _sel_time(_call: Call) -> bytes:
    return struct.pack("<I", int(time.time()))


# LAN, chapter 23


def _lan_parameter(call: Call) -> bytes:
    call.need(4)
    parameter = call.data[1]
    config = call.bmc.config.bmc
    suites = rmcp.CIPHER_SUITES
    values: dict[int, bytes] = {
        0: b"\x00",
        1: b"\x00",
        2: b"\x00" * 5,
        3: ipaddress.IPv4Address(config.host).packed,
        4: b"\x01",  # static
        5: bytes.fromhex(config.mac.replace(":", "")),
        6: b"\xff\xff\xff\x00",
        7: b"\x40\x40\x10",
        10: b"\x01",  # gratuitous ARP off, ARP answers on
        12: bytes(4),
        13: bytes(6),
        14: bytes(4),
        15: bytes(6),
        16: b"public".ljust(18, b"\x00"),
        20: b"\x00\x00",
        21: b"\x00",
        22: bytes((len(suites),)),
        23: bytes((0, *(suite.number for suite in suites))).ljust(17, b"\x00"),
        24: b"\x00" + b"\x44" * 8,
    }
    value = values.get(parameter)
    if value is None:
        raise CommandFailed(Code.PARAMETER_NOT_SUPPORTED)
    return b"\x11" + value


# Payloads, chapter 24, and Serial over LAN, chapter 26


def _sol_instance(call: Call) -> None:
    call.need(2)
    if call.data[0] & 0x3F != rmcp.PayloadType.SOL:
        raise CommandFailed(Code.INVALID_FIELD)
    if call.data[1] & 0x0F != 1:
        raise CommandFailed(Code.OUT_OF_RANGE)


def _activate_payload(call: Call) -> bytes:
    _sol_instance(call)
    if call.memory.console is not None:
        raise CommandFailed(Code.PAYLOAD_STATE)
    call.memory.console = call.rights
    port = call.bmc.config.bmc.port
    return bytes(4) + struct.pack("<HHHH", SOL_BYTES, SOL_BYTES, port, 0xFFFF)


def _deactivate_payload(call: Call) -> bytes:
    _sol_instance(call)
    if call.memory.console is None:
        raise CommandFailed(Code.PAYLOAD_STATE)
    call.memory.console = None
    return b""


def _payload_status(call: Call) -> bytes:
    call.need(1)
    is_active = call.data[0] & 0x3F == rmcp.PayloadType.SOL and call.memory.console is not None
    return bytes((0x01, 0x01 if is_active else 0x00, 0x00))


def _payload_instance(call: Call) -> bytes:
    _sol_instance(call)
    holder = call.memory.console
    return struct.pack("<I", 0 if holder is None else holder.session_id) + bytes((0x01,)) + bytes(7)


def _user_payloads(_call: Call) -> bytes:
    return b"\x02\x00\x00\x00"  # SOL


def _payload_support(_call: Call) -> bytes:
    return b"\x03\x00\x3f\x00\x00\x00\x00\x00"  # IPMI messages and SOL; what makes a session


def _payload_version(call: Call) -> bytes:
    call.need(2)
    if call.data[1] & 0x3F not in {rmcp.PayloadType.IPMI, rmcp.PayloadType.SOL}:
        raise CommandFailed(Code.PARAMETER_NOT_SUPPORTED)
    return b"\x10"


def _sol_parameter(call: Call) -> bytes:
    call.need(4)
    values: dict[int, bytes] = {
        0: b"\x00",
        1: b"\x01",  # enabled
        2: bytes((0xC0 | Privilege.OPERATOR,)),  # encrypted and authenticated
        3: b"\x01\xc8",  # sent after 5 ms or 200 characters
        4: b"\x07\x32",  # 7 repetitions, every 500 ms
        5: b"\x0a",  # 115,200 bit/s
        6: b"\x0a",
        7: bytes((CHANNEL,)),
        8: struct.pack("<H", call.bmc.config.bmc.port),
    }
    value = values.get(call.data[1])
    if value is None:
        raise CommandFailed(Code.PARAMETER_NOT_SUPPORTED)
    return b"\x11" + value


CHASSIS, SENSOR, APP, STORAGE, TRANSPORT = 0x00, 0x04, 0x06, 0x0A, 0x0C

COMMANDS: Final[dict[tuple[int, int], Command]] = {
    (CHASSIS, 0x00): Command(_chassis_capabilities),
    (CHASSIS, 0x01): Command(_chassis_status),
    (CHASSIS, 0x02): Command(_chassis_control, Privilege.OPERATOR, acts=True),
    (CHASSIS, 0x04): Command(_chassis_identify, Privilege.OPERATOR, acts=True),
    (CHASSIS, 0x07): Command(_restart_cause),
    (CHASSIS, 0x08): Command(_set_boot_options, Privilege.OPERATOR, acts=True),
    (CHASSIS, 0x09): Command(_get_boot_options, Privilege.OPERATOR),
    (SENSOR, 0x25): Command(_sensor_hysteresis),
    (SENSOR, 0x27): Command(_sensor_limits),
    (SENSOR, 0x29): Command(_sensor_events),
    (SENSOR, 0x2B): Command(_sensor_events),
    (SENSOR, 0x2D): Command(_sensor_reading),
    (APP, 0x01): Command(_device_id),
    (APP, 0x02): Command(_reset_bmc, Privilege.ADMIN, acts=True),
    (APP, 0x03): Command(_reset_bmc, Privilege.ADMIN, acts=True),
    (APP, 0x04): Command(_self_test),
    (APP, 0x08): Command(_guid),
    (APP, 0x37): Command(_guid, None),
    (APP, 0x38): Command(_channel_authentication, None),
    (APP, 0x3B): Command(_set_privilege),
    (APP, 0x3C): Command(_close_session, acts=True),
    (APP, 0x41): Command(_channel_access),
    (APP, 0x42): Command(_channel_information),
    (APP, 0x44): Command(_user_access, Privilege.OPERATOR),
    (APP, 0x48): Command(_activate_payload, Privilege.OPERATOR, acts=True),
    (APP, 0x49): Command(_deactivate_payload, Privilege.OPERATOR, acts=True),
    (APP, 0x4A): Command(_payload_status),
    (APP, 0x4B): Command(_payload_instance),
    (APP, 0x4D): Command(_user_payloads, Privilege.OPERATOR),
    (APP, 0x4E): Command(_payload_support),
    (APP, 0x4F): Command(_payload_version),
    (APP, 0x46): Command(_user_name, Privilege.OPERATOR),
    (APP, 0x54): Command(_cipher_suites, None),
    (STORAGE, 0x10): Command(_fru_size),
    (STORAGE, 0x11): Command(_read_fru),
    (STORAGE, 0x20): Command(_sdr_information),
    (STORAGE, 0x22): Command(_reserve),
    (STORAGE, 0x23): Command(_get_sdr),
    (STORAGE, 0x40): Command(_sel_information),
    (STORAGE, 0x42): Command(_reserve),
    (STORAGE, 0x43): Command(_sel_entry),
    (STORAGE, 0x48): Command(_sel_time),
    (TRANSPORT, 0x02): Command(_lan_parameter, Privilege.OPERATOR),
    (TRANSPORT, 0x22): Command(_sol_parameter),
}
