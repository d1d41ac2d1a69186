"""Checks signatures of minisign (https://jedisct1.github.io/minisign/), so that images are signed with its stock tool.

A public key is base64 of `Ed`, eight bytes that name the key, and an Ed25519 key. A signature file has four lines: a
comment, base64 of an algorithm, the key's name and the signature, a trusted comment, and the signature over both.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ID_BYTES, KEY_BYTES, SIGNATURE_BYTES = 8, 32, 64
KEY_MARK = b"Ed"
HASHED_MARK = b"ED"  # the file was hashed with BLAKE2b-512 first, which minisign does by itself since 0.10
TRUSTED = "trusted comment: "


class BadSignature(ValueError):
    """A signature or key is malformed, of an unknown key, or wrong; the message is a sentence."""


@dataclass(frozen=True)
class Signature:
    """What a signature file holds."""

    key_id: bytes
    signature: bytes
    comment: str
    comment_signature: bytes


def parse_signature(text: str) -> Signature:
    """Read a `.minisig` file."""
    lines = text.strip().splitlines()
    if len(lines) != 4 or not lines[2].startswith(TRUSTED):  # noqa: PLR2004  # see above
        raise BadSignature("The signature is not a .minisig file of four lines.")
    body, last = _bytes(lines[1]), _bytes(lines[3])
    if len(body) != 2 + ID_BYTES + SIGNATURE_BYTES or len(last) != SIGNATURE_BYTES:
        raise BadSignature("The signature is cut short.")
    if body[:2] != HASHED_MARK:
        raise BadSignature(
            "The signature is of the old kind, without a hash. Sign again with minisign 0.10 or newer."
        )
    return Signature(body[2 : 2 + ID_BYTES], body[2 + ID_BYTES :], lines[2].removeprefix(TRUSTED), last)


def parse_key(text: str) -> tuple[bytes, Ed25519PublicKey]:
    """Read a public key: its name and the key."""
    blob = _bytes(text.strip().splitlines()[-1] if text.strip() else "")
    if len(blob) != 2 + ID_BYTES + KEY_BYTES or blob[:2] != KEY_MARK:
        raise BadSignature(f"{text[:60]!r} is not a public key of minisign.")
    return blob[2 : 2 + ID_BYTES], Ed25519PublicKey.from_public_bytes(blob[2 + ID_BYTES :])


def verify(signature: Signature, digest: bytes, keys: Sequence[str]) -> str:
    """Check that one of *keys* signed a file of this BLAKE2b-512 *digest*; gives that key's name in hexadecimal."""
    for text in keys:
        key_id, key = parse_key(text)
        if key_id != signature.key_id:
            continue
        try:
            key.verify(signature.signature, digest)
            key.verify(signature.comment_signature, signature.signature + signature.comment.encode())
        except InvalidSignature as error:
            raise BadSignature("The signature does not fit the file.") from error
        return key_id[::-1].hex().upper()
    raise BadSignature("The signature is of a key that is not trusted here (setting `image_keys`).")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature(f"{text[:60]!r} is not base64.") from error
