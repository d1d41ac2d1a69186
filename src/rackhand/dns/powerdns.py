"""PowerDNS Authoritative Server over its HTTP API."""

import asyncio
import json
import re
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field

from rackhand.dns.interfaces import PtrChange
from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable
from rackhand.hardware.interfaces import Endpoint

SECONDS = 8.0
UNAUTHORIZED, SERVER_ERROR = 401, 500
OK = range(200, 300)


class PowerDnsSettings(BaseModel):
    """How the API is reached; its key is the password of the access."""

    model_config = ConfigDict(extra="forbid")

    server: str = Field(
        "localhost", description="Name of the server in the API; the daemon itself is `localhost`."
    )
    tls: bool = Field(default=False, description="HTTPS, through a proxy: PowerDNS itself speaks plain HTTP.")
    verify_tls: bool = Field(default=True, description="Check the certificate.")


class PowerDns:
    """One server."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        settings = PowerDnsSettings.model_validate(dict(endpoint.settings))
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._address = f"{host}:{endpoint.port}"
        self._slots = slots
        self._changing = asyncio.Lock()
        self._http = httpx.AsyncClient(
            base_url=f"{'https' if settings.tls else 'http'}://{self._address}/api/v1/servers/{settings.server}",
            headers={"x-api-key": endpoint.password},
            timeout=SECONDS,
            verify=settings.tls and settings.verify_tls,
            trust_env=False,
        )

    async def ptr(self, zone: str, name: str) -> tuple[str, ...]:
        """What stands at *name* in the server's own database; its caches are not asked."""
        answer = await self._send("GET", f"{_path(zone)}?rrset_name={name}.&rrset_type=PTR", None)
        return tuple(
            sorted(
                record["content"].removesuffix(".").lower()
                for rrset in answer.get("rrsets", ())
                if (rrset["name"].removesuffix(".").lower(), rrset["type"]) == (name, "PTR")
                for record in rrset["records"]
                if not record["disabled"]
            )
        )

    async def apply(self, change: PtrChange) -> None:
        """Replace the set of records, or delete it.

        One change at a time: over SQLite the server refuses one that comes while another is being written.
        """
        async with self._changing:
            await self._send("PATCH", *patch_of(change))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, method: str, path: str, body: object) -> dict[str, Any]:
        try:
            async with self._slots:
                response = await self._http.request(method, path, json=body)
        except httpx.TimeoutException as error:
            raise Timeout(
                f"The API of PowerDNS at {self._address} did not answer within {SECONDS:g} s."
            ) from error
        except httpx.HTTPError as error:
            raise Unreachable(
                f"The API of PowerDNS at {self._address} cannot be reached: {error}."
            ) from error
        if response.status_code not in OK:
            raise _error_of(response, self._address)
        return dict(response.json()) if response.content else {}


def _error_of(response: httpx.Response, address: str) -> HardwareError:
    if response.status_code == UNAUTHORIZED:
        return AuthFailed(f"PowerDNS at {address} refused the API key.")
    try:
        words = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        words = response.reason_phrase
    sentence = f"PowerDNS at {address} answered {response.status_code} to {response.url.path}: {words[:200]}"
    return Timeout(sentence) if response.status_code >= SERVER_ERROR else Refused(sentence)


def _path(zone: str) -> str:
    """The zone's id in the API, where other characters than these are spelt `=2F`, as the server itself does."""
    encoded = re.sub(r"[^a-z0-9._-]", lambda found: f"={ord(found[0]):02X}", zone)
    return f"/zones/{encoded}."


def patch_of(change: PtrChange) -> tuple[str, dict[str, Any]]:
    """Path and body of the request that makes a change."""
    rrset: dict[str, Any] = {"name": f"{change.name}.", "type": "PTR", "changetype": "DELETE"}
    if change.target is not None:
        records = [{"content": f"{change.target}.", "disabled": False}]
        rrset |= {"changetype": "REPLACE", "ttl": change.ttl, "records": records}
    return _path(change.zone), {"rrsets": [rrset]}


def commands(change: PtrChange) -> list[str]:
    """What `apply` sends, as an operator reads it."""
    path, body = patch_of(change)
    return [f"PATCH {path} {json.dumps(body)}"]
