# byte values of the specifications
"""What an IPMI BMC stores as bytes: sensor data records, raw readings, FRU information."""

import struct
from dataclasses import dataclass
from typing import Final

from rackhand.sim.config import MachineConfig
from rackhand.sim.machine import Reading, SensorKind

ASCII = 0xC0  # type code of 8-bit text in SDR id strings and FRU fields
END_OF_FIELDS = 0xC1
RACK_MOUNT_CHASSIS = 0x17  # SMBIOS chassis type


@dataclass(frozen=True)
class SensorCoding:
    """How a kind of sensor looks in IPMI (tables 42-3, 43-13 and 43-15); *step* units are a raw 1."""

    sensor_type: int
    entity: int
    unit: int
    step: int


CODINGS: Final = {
    SensorKind.TEMPERATURE: SensorCoding(0x01, 0x03, 1, 1),
    SensorKind.FAN: SensorCoding(0x04, 0x1D, 18, 100),
    SensorKind.POWER: SensorCoding(0x0B, 0x13, 6, 4),
}
UPPER_LIMITS = 0b011000  # bits of the readable thresholds: upper critical, upper non-critical
LOWER_LIMITS = 0b000011


def raw(reading: Reading, value: float) -> int:
    """Return *value* in the steps of the sensor, as the byte that IPMI carries."""
    return max(0, min(255, round(value / CODINGS[reading.kind].step)))


def limits(reading: Reading) -> bytes:
    """Return the mask and the thresholds in the order of Get Sensor Thresholds: lower ones first."""
    warning, critical = raw(reading, reading.warning), raw(reading, reading.critical)
    if reading.kind is SensorKind.FAN:
        return bytes((LOWER_LIMITS, warning, critical, 0, 0, 0, 0))
    return bytes((UPPER_LIMITS, 0, 0, 0, warning, critical, 0))


def limits_crossed(reading: Reading) -> int:
    """Return the threshold status of Get Sensor Reading: which limits the present value is beyond."""
    if reading.value is None:
        return 0
    if reading.kind is SensorKind.FAN:
        return (0b01 if reading.value <= reading.warning else 0) | (
            0b10 if reading.value <= reading.critical else 0
        )
    return (0b01000 if reading.value >= reading.warning else 0) | (
        0b10000 if reading.value >= reading.critical else 0
    )


def sensor_record(number: int, reading: Reading, *, instance: int) -> bytes:
    """Return the full sensor record (type 01h, table 43-1) of sensor *number*, also the record's id."""
    coding = CODINGS[reading.kind]
    mask, lower_warning, lower_critical, _, upper_warning, upper_critical, _ = limits(reading)
    name = reading.name.encode("ascii")[:16]
    body = bytes((0x20, 0x00, number, coding.entity, instance))
    body += bytes(
        (0x7F, 0x47, coding.sensor_type, 0x01)
    )  # initialised; limits readable, no events; threshold based
    body += bytes((0, 0, 0, 0, mask, 0))
    body += bytes((0x00, coding.unit, 0x00, 0x00))  # unsigned, linear
    body += bytes((coding.step, 0, 0, 0, 0, 0))  # M, B and exponents
    body += bytes((0, 0, 0, 0, 0xFF, 0x00))
    body += bytes((0, upper_critical, upper_warning, 0, lower_critical, lower_warning))
    body += bytes((0, 0, 0, 0, 0)) + bytes((ASCII | len(name),)) + name
    return struct.pack("<HBBB", number, 0x51, 0x01, len(body)) + body


def sensor_records(readings: list[Reading]) -> list[bytes]:
    """Return the records of all sensors, numbered from 1."""
    seen: dict[SensorKind, int] = {}
    records = []
    for number, reading in enumerate(readings, start=1):
        seen[reading.kind] = seen.get(reading.kind, 0) + 1
        records.append(sensor_record(number, reading, instance=seen[reading.kind]))
    return records


def fru_information(config: MachineConfig) -> bytes:
    """Return chassis, board and product areas of the FRU (FRU storage definition 1.0, chapters 8 to 12)."""
    chassis = _area(bytes((RACK_MOUNT_CHASSIS,)), [config.model, config.serial])
    board = _area(
        b"\x00\x00\x00\x00", [config.manufacturer, config.model, config.serial, config.configuration, ""]
    )
    product = _area(
        b"\x00", [config.manufacturer, config.model, config.configuration, "", config.serial, config.name, ""]
    )
    offsets = (8, 8 + len(chassis), 8 + len(chassis) + len(board))
    header = bytes((0x01, 0x00, *(offset // 8 for offset in offsets), 0x00, 0x00))
    return header + _checksum(header) + chassis + board + product


def _area(head: bytes, fields: list[str]) -> bytes:
    body = head
    for field in fields:
        text = field.encode("latin-1", "replace")[:63]
        body += bytes((ASCII | len(text) if text else 0,)) + text
    body += bytes((END_OF_FIELDS,))
    length = -(-(len(body) + 3) // 8)
    area = bytes((0x01, length)) + body
    area += b"\x00" * (length * 8 - 1 - len(area))
    return area + _checksum(area)


def _checksum(data: bytes) -> bytes:
    return bytes((-sum(data) & 0xFF,))
