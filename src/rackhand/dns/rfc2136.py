"""Any name server that takes dynamic updates (RFC 2136) signed by TSIG (RFC 8945): BIND, Knot, PowerDNS and others.

Everything goes over TCP to the one address of the access: what is read back is what that server holds.
"""

import asyncio
import binascii
import socket
from typing import Literal

import dns.asyncquery
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
from pydantic import BaseModel, ConfigDict, Field

from rackhand.dns.interfaces import PtrChange
from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable
from rackhand.hardware.interfaces import Endpoint

SECONDS = 8.0
BUSY = {dns.rcode.SERVFAIL}
NO_SUCH = {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}


class Rfc2136Settings(BaseModel):
    """The signature; user and password of the access are the key's name and its secret in base64."""

    model_config = ConfigDict(extra="forbid")

    algorithm: Literal[
        "hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5"
    ] = Field("hmac-sha256", description="Algorithm of the TSIG key.")


ALGORITHMS = {
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha1": dns.tsig.HMAC_SHA1,
    "hmac-md5": dns.tsig.HMAC_MD5,
}


class Rfc2136:
    """One server."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        """Take the access; a secret that is not base64 is `ValueError`."""
        settings = Rfc2136Settings.model_validate(dict(endpoint.settings))
        self._host, self._port, self._slots = endpoint.host, endpoint.port, slots
        self._words = f"The name server at {endpoint.host}:{endpoint.port}"
        self._key: dns.tsig.Key | None = None
        if endpoint.user:
            try:
                self._key = dns.tsig.Key(endpoint.user, endpoint.password, ALGORITHMS[settings.algorithm])
            except (binascii.Error, dns.exception.DNSException) as error:
                raise ValueError("the TSIG key is no name with a secret in base64") from error

    async def ptr(self, zone: str, name: str) -> tuple[str, ...]:
        """Ask the server itself, without recursion."""
        query = dns.message.make_query(f"{name}.", "PTR", flags=0)
        answer = await self._ask(query)
        if answer.rcode() not in NO_SUCH:
            raise self._refusal(answer, f"zone {zone}")
        if not answer.flags & dns.flags.AA:
            raise Refused(f"{self._words} has no authority over zone {zone}.")
        return tuple(
            sorted(
                rdata.target.to_text(omit_final_dot=True).lower()
                for rrset in answer.answer
                if rrset.rdtype == dns.rdatatype.PTR and rrset.name == dns.name.from_text(name)
                for rdata in rrset
            )
        )

    async def apply(self, change: PtrChange) -> None:
        """Send one update, which the server does whole or not at all."""
        update = dns.update.UpdateMessage(f"{change.zone}.")
        for action, ttl, target in lines_of(change):
            if action == "delete":
                update.delete(f"{change.name}.", "PTR")
            else:
                update.add(f"{change.name}.", ttl, "PTR", target)
        answer = await self._ask(update)
        if answer.rcode() != dns.rcode.NOERROR:
            raise self._refusal(answer, f"the update of zone {change.zone}")

    async def close(self) -> None:
        """There is no session."""

    async def _ask(self, message: dns.message.Message) -> dns.message.Message:
        if self._key is not None:
            message.use_tsig(self._key)
        try:
            async with self._slots, asyncio.timeout(SECONDS):
                address = await _resolve(self._host, self._port)
                return await dns.asyncquery.tcp(message, address, SECONDS, self._port)
        except (TimeoutError, dns.exception.Timeout) as error:
            raise Timeout(f"{self._words} did not answer within {SECONDS:g} s.") from error
        except (dns.tsig.PeerError, dns.tsig.BadSignature, dns.tsig.BadKey) as error:
            raise AuthFailed(f"{self._words} refused the TSIG key: {error}") from error
        except (OSError, EOFError) as error:
            raise Unreachable(
                f"{self._words} cannot be reached: {error or 'it closed the connection'}."
            ) from error
        except dns.exception.DNSException as error:
            raise Refused(f"{self._words} gave an answer that is none: {error}") from error

    def _refusal(self, answer: dns.message.Message, what: str) -> HardwareError:
        word = dns.rcode.to_text(answer.rcode())
        kind = Timeout if answer.rcode() in BUSY else Refused
        return kind(f"{self._words} answered {word} to {what}.")


async def _resolve(host: str, port: int) -> str:
    if dns.inet.is_address(host):
        return host
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


def lines_of(change: PtrChange) -> list[tuple[str, int, str]]:
    """The parts of an update in order: what is there goes, and the one record comes."""
    lines = [("delete", 0, "")]
    return lines if change.target is None else [*lines, ("add", change.ttl, f"{change.target}.")]


def commands(change: PtrChange) -> list[str]:
    """What `apply` sends, as `nsupdate` spells it."""
    spelt = [
        f"update delete {change.name}. PTR"
        if action == "delete"
        else f"update add {change.name}. {ttl} PTR {target}"
        for action, ttl, target in lines_of(change)
    ]
    return [f"zone {change.zone}.", *spelt, "send"]
