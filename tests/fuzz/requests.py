"""Requests that nobody has thought of: half sensible, half not, the same ones for the same seed."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI

from rackhand.events import queries as events
from rackhand.ipam import queries as ipam
from rackhand.servers import queries as servers
from rackhand.tasks import queries as tasks
from rackhand.users import queries as users

FIELD_TABLES = (
    events.FIELDS, servers.FIELDS, servers.LOCATION_FIELDS, servers.RACK_FIELDS, tasks.FIELDS, users.FIELDS,
    ipam.ADDRESS_FIELDS, ipam.NETWORK_FIELDS, ipam.POOL_FIELDS, ipam.RANGE_FIELDS, ipam.SERVER_FIELDS,
)  # fmt: skip
FIELDS = sorted({name for table in FIELD_TABLES for name in table})
OPERATORS = ["EQ", "NE", "LT", "GT", "LE", "GE", "CP", "eq", "IS", "IS NOT", "IN", "LIKE", "", "=", "EQ EQ"]
TEXTS = [
    "", " ", "0", "-1", "x", "%", "_", "\\", "'", '"', "';--", "null", "true", "é", "İ", "ß", "日本", "😀", "\u202e",
    "\ufeff", "\x7f", "\x1f", "a" * 255, "a" * 256, "%" * 60, "../../etc/passwd", "{}", "[]",
    "1e309", "NaN", "9" * 40, "\n", "\r\n",
    "A-01", "srv-1", "ams1", "@admin", "@user", "on", "2030-01-01 00:00:00", "2030-13-45",
    "0001-01-01", "9999-12-31 23:59:59", "192.0.2.1", "::1", "192.0.2.0/24", "2001:db8::/64",
    "00:00:5e:00:53:01", "ff:ff:ff:ff:ff:ff", "ipmi", "redfish",
    "operator@example.com", "user@example.com", "a@b", "long enough", "i9-9900K-64Gb-2x1024NVMe",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8WEgQeEeqMIgOUnVFPpH7lZrvXD x",
    "name,configuration,rack,unit,nics\na,b,A-01,1,00:00:5e:00:53:07\n'x", 'name\n"a', "name\n\x00",
]  # fmt: skip
NUMBERS: list[int | float] = [
    0, 1, 2, 3, 4, 5, -1, 42, 100, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63,
    -(2**63) - 1, 10**30,    0.5, 1.0, 1e308, -0.0,
]  # fmt: skip
RAW_BODIES = [
    "",
    "{",
    "[",
    "null",
    "[]",
    '""',
    "0",
    "\x00",
    "{}{}",
    '{"a":1,"a":2}',
    "name=x",
    '{"name":NaN}',
    "\ufeff{}",
]


@dataclass(frozen=True)
class FuzzedRequest:
    """What is sent."""

    method: str
    path: str
    body: str | None
    headers: Mapping[str, str]
    caller: str

    def __str__(self) -> str:
        headers = "".join(f" -H '{name}: {value}'" for name, value in self.headers.items())
        return f"{self.caller}: {self.method} {self.path[:2000]}{headers} {(self.body or '')[:2000]}"


@dataclass
class Fuzzer:
    """Makes requests for the calls that the application describes."""

    random: Random
    description: dict[str, Any]
    calls: list[tuple[str, str, dict[str, Any]]] = field(init=False)
    _known_ids: deque[int] = field(default_factory=lambda: deque(range(1, 9), maxlen=24))

    @classmethod
    def of(cls, app: FastAPI, seed: int) -> "Fuzzer":
        """A fuzzer of *app*; streams never end, so they are left out."""
        return cls(Random(seed), app.openapi())  # noqa: S311  # repeatable on purpose

    def __post_init__(self) -> None:
        self.calls = [
            (method.upper(), path, call)
            for path, item in self.description["paths"].items()
            for method, call in item.items()
            if not path.endswith("/stream")
        ]

    def note(self, answer: object) -> None:
        """Remember the number of what a call has made: later requests name it."""
        if isinstance(answer, dict) and type(answer.get("id")) is int:
            self._known_ids.append(answer["id"])

    def request(self) -> FuzzedRequest:
        """The next one."""
        pick = self.random
        method, path, call = pick.choice(self.calls)
        for parameter in call.get("parameters", ()):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", self._segment(parameter["name"]))
        query = self._query(call)
        prefix = pick.choice(["", "/api", "/api/", ""]).rstrip("/")
        return FuzzedRequest(
            method
            if pick.random() > 0.02
            else pick.choice(["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"]),
            prefix + path + ("/" if pick.random() < 0.05 else "") + ("?" + query if query else ""),
            self._body(method, call),
            self._headers(),
            pick.choices(["admin", "user", "nobody"], [85, 12, 3])[0],
        )

    def _segment(self, name: str) -> str:
        if self.random.random() < 0.75:
            return str(self._number())
        if name == "user" and self.random.random() < 0.5:
            return quote(self.random.choice(["operator@example.com", "user@example.com", "a@b"]), safe="")
        return quote(str(self.random.choice([*TEXTS, *NUMBERS])), safe="") or "x"

    # --- lists

    def _query(self, call: dict[str, Any]) -> str:
        names = [each["name"] for each in call.get("parameters", ()) if each["in"] == "query"]
        parts = [
            f"{name}={self._encoded(self._parameter(name))}" for name in names if self.random.random() < 0.6
        ]
        if self.random.random() < 0.05:
            parts.append(f"{self._encoded(self._text())}={self._encoded(self._text())}")
        return "&".join(parts)

    def _encoded(self, text: str) -> str:
        return quote(text, safe=self.random.choice(["", "()' ,"]))

    def _parameter(self, name: str) -> str:
        if self.random.random() < 0.1:
            return self._text()
        match name:
            case "where":
                return self._condition(depth=0)
            case "orderby":
                keys = [
                    f"{self._field()}{self.random.choice(['', ' asc', ' desc', ' up'])}" for _ in range(3)
                ]
                return ",".join(keys[: self.random.randint(1, 3)])
            case "limit":
                numbers = [str(self.random.choice(NUMBERS)) for _ in range(self.random.randint(1, 2))]
                return ",".join(numbers)
        return str(self.random.choice(NUMBERS))

    def _condition(self, depth: int) -> str:
        pick = self.random
        if depth < 4 and pick.random() < 0.5:
            left, right = self._condition(depth + 1), self._condition(depth + 1)
            return pick.choice(
                [
                    f"({left}) AND {right}",
                    f"{left} OR ({right})",
                    f"NOT {left}",
                    f"({left})",
                    f"{left} {right}",
                ]
            )
        operator = pick.choice(OPERATORS[:10] if pick.random() < 0.9 else OPERATORS)
        if operator.startswith("IS") and pick.random() < 0.9:
            return f"{self._field()} {operator} null"
        values = [self._literal() for _ in range(pick.randint(0, 3))]
        if operator == "IN":
            return f"{self._field()} IN ({', '.join(values)})"
        return f"{self._field()} {operator} {self._literal()}"

    def _field(self) -> str:
        return self.random.choice(FIELDS) if self.random.random() < 0.95 else self._text()

    def _literal(self) -> str:
        pick = self.random
        text = self._text().replace("\\", "\\\\").replace("'", "\\'") if pick.random() < 0.9 else self._text()
        return pick.choice([f"'{text}'", str(pick.choice(NUMBERS)), "true", "false", "null", f'"{text}"'])

    # --- bodies

    def _body(self, method: str, call: dict[str, Any]) -> str | None:
        pick = self.random
        if pick.random() < 0.04:
            return pick.choice(RAW_BODIES)
        content = call.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return None if method == "GET" or pick.random() < 0.8 else json.dumps(self._anything())
        value = self._value(content["schema"], "body") if pick.random() > 0.03 else self._anything()
        return json.dumps(value, ensure_ascii=pick.random() < 0.5)

    def _value(self, schema: dict[str, Any], name: str, depth: int = 0) -> object:  # noqa: C901, PLR0911
        pick = self.random
        if "$ref" in schema:
            return self._value(
                self.description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], name, depth
            )
        if depth and pick.random() < 0.07:
            return self._anything()
        if "anyOf" in schema:
            return self._value(pick.choice(schema["anyOf"]), name, depth)
        if "enum" in schema:
            return pick.choice(schema["enum"])
        match schema.get("type"):
            case "object" if "properties" in schema:
                required = set(schema.get("required", ()))
                return {
                    key: self._value(inner, key, depth + 1)
                    for key, inner in schema["properties"].items()
                    if pick.random() < (0.97 if key in required else 0.4)
                }
            case "object":
                return {self._text(): self._anything() for _ in range(pick.randint(0, 3))}
            case "array":
                return [
                    self._value(schema.get("items", {}), name, depth + 1) for _ in range(pick.randint(0, 3))
                ]
            case "boolean":
                return pick.random() < 0.5
            case "integer" | "number":
                return self._number() if pick.random() < 0.8 else pick.choice(NUMBERS)
            case "null":
                return None
            case "string":
                return self._likely(schema, name)
        return self._anything()

    def _likely(self, schema: dict[str, Any], name: str) -> object:  # noqa: PLR0911
        pick = self.random
        if pick.random() < 0.2:
            return self._text()
        if name in {"ip_name", "gateway", "name"} and pick.random() < 0.4:
            host = f"192.0.2.{pick.randint(0, 40)}"
            return pick.choice(
                [
                    host,
                    f"{host}-192.0.2.{pick.randint(0, 255)}",
                    f"{host}/{pick.randint(20, 32)}",
                    "2001:db8::/56",
                ]
            )
        if "mac" in name:
            return f"00:00:5e:00:53:{pick.randint(0, 20):02x}"
        if "email" in name:
            return f"user{pick.randint(1, 9)}@example.com"
        if name == "driver":
            return pick.choice(["ipmi", "redfish"])
        if "host" in name:
            return f"192.0.2.{pick.randint(1, 9)}"
        if "password" in name:
            return pick.choice(["long enough", "correct horse"])
        return pick.choice([*schema.get("examples", ()), f"{name}-{pick.randint(1, 9)}"])

    def _number(self) -> int:
        return self.random.choice([self.random.randint(0, 8), self.random.choice(self._known_ids)])

    def _anything(self) -> object:
        pick = self.random
        plain: list[object] = [None, True, False, pick.choice(NUMBERS), self._text(), [], {}, [[]], {"id": 1}]
        return pick.choice([*plain, [self._text(), pick.choice(NUMBERS)], {self._text(): self._text()}])

    def _text(self) -> str:
        return self.random.choice(TEXTS)

    # --- headers

    def _headers(self) -> dict[str, str]:
        pick = self.random
        headers = {}
        if pick.random() < 0.1:
            headers["idempotency-key"] = pick.choice(["a", "b", "c", "", "x" * 256, "é"])
        if pick.random() < 0.1:
            headers["content-type"] = pick.choice(
                ["", "application/json", "multipart/form-data", "text/xml; charset=x"]
            )
        if pick.random() < 0.05:
            headers["x-request-id"] = pick.choice(["a", "a b", "x" * 500])
        if pick.random() < 0.05:
            headers["cookie"] = pick.choice(["ses6=x", "lang6=en", ";;=;", 'a={"b":[1]}'])
        return headers
