"""Secrets at rest: AES-256-GCM under a key ring that is kept outside of the database."""

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.1
KEY_BYTES = 32


class SecretUnreadable(Exception):
    """A stored secret cannot be decrypted with the keys at hand."""


@dataclass(frozen=True)
class Vault:
    """Seals and opens secrets; the first key of the ring seals, all of them open."""

    keys: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Vault({', '.join(self.keys)})"

    def seal(self, secret: str, *, purpose: str) -> str:
        """Encrypt *secret*; *purpose* (`table.column`) is authenticated, so a value cannot be moved elsewhere."""
        key_id = next(iter(self.keys))
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self.keys[key_id]).encrypt(nonce, secret.encode(), purpose.encode())
        return f"{key_id}:{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, purpose: str) -> str:
        """Decrypt what `seal` gave for the same *purpose*; raise `SecretUnreadable` otherwise."""
        key_id, _, text = sealed.partition(":")
        try:
            blob = base64.b64decode(text, validate=True)
            opened = AESGCM(self.keys[key_id]).decrypt(
                blob[:NONCE_BYTES], blob[NONCE_BYTES:], purpose.encode()
            )
        except (KeyError, ValueError, InvalidTag) as error:
            raise SecretUnreadable(
                f"The secret for {purpose} needs key {key_id!r}, which does not fit."
            ) from error
        return opened.decode()

    def rotated(self) -> Self:
        """A ring with a fresh first key that still opens everything."""
        return type(self)({secrets.token_hex(4): secrets.token_bytes(KEY_BYTES), **self.keys})

    def newest_only(self) -> Self:
        """A ring without the old keys."""
        key_id = next(iter(self.keys))
        return type(self)({key_id: self.keys[key_id]})

    def dump(self) -> str:
        """The ring as text: one `id:key` a line, the current one first."""
        return "".join(f"{key_id}:{base64.b64encode(key).decode()}\n" for key_id, key in self.keys.items())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `dump` wrote; lines may be separated by commas as well, for an environment variable."""
        keys = {}
        for line in text.replace(",", "\n").split():
            key_id, _, key = line.partition(":")
            keys[key_id] = base64.b64decode(key, validate=True)
            if len(keys[key_id]) != KEY_BYTES:
                raise ValueError(f"Key {key_id!r} has {len(keys[key_id])} bytes instead of {KEY_BYTES}.")
        if not keys:
            raise ValueError("The key ring is empty.")
        return cls(keys)


def load(ring: str, directory: Path) -> Vault:
    """Open the ring given as text, else the one in *directory*; the first start makes one, readable by its owner."""
    if ring:
        return Vault.parse(ring)
    path = directory / "secret.keys"
    if not path.exists():
        save(Vault({secrets.token_hex(4): secrets.token_bytes(KEY_BYTES)}), directory)
    return Vault.parse(path.read_text())


def save(vault: Vault, directory: Path) -> None:
    """Write the ring for `load`, replacing the file in one step."""
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"secret.keys.{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
        file.write(vault.dump())
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(directory / "secret.keys")
