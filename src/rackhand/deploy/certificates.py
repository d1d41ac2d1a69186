"""Certificates of erasure: a JSON document and an Ed25519 signature over its canonical form (RFC 8032).

Whoever has the public key can check a certificate without this product: `verify` needs nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.deploy.model import Erasure, SigningKey
from rackhand.vault import Vault

KEY_PURPOSE = "signing_key.sealed_private_key"
ALGORITHM = "Ed25519"

Json = Mapping[str, Any]


class BadCertificate(Exception):
    """A certificate does not hold; the message is a sentence."""


def canonical(document: Json) -> bytes:
    """The bytes that are signed: keys sorted, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key_id_of(public_key: str) -> str:
    """A short name of a public key."""
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:16]


async def sign(session: AsyncSession, vault: Vault, document: Json) -> tuple[str, str]:
    """Sign *document*; gives the key's id and the signature in base64."""
    key = await _signing_key(session, vault)
    private = Ed25519PrivateKey.from_private_bytes(
        base64.b64decode(vault.open(key.sealed_private_key, purpose=KEY_PURPOSE))
    )
    return key.id, base64.b64encode(private.sign(canonical(document))).decode()


async def _signing_key(session: AsyncSession, vault: Vault) -> SigningKey:
    """The newest key; the first certificate makes one."""
    query = select(SigningKey).order_by(SigningKey.created_at.desc()).limit(1)
    key = (await session.scalars(query)).one_or_none()
    if key is not None:
        return key
    private = Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    sealed = vault.seal(base64.b64encode(private.private_bytes_raw()).decode(), purpose=KEY_PURPOSE)
    fresh = SigningKey(
        id=key_id_of(public), public_key=public, sealed_private_key=sealed, created_at=utcnow()
    )
    try:
        async with session.begin_nested():
            session.add(fresh)
            await session.flush()
    except IntegrityError:
        return (await session.scalars(query)).one()
    return fresh


def certificate(erasure: Erasure, public_key: str) -> dict[str, Any]:
    """What is handed out: the document and its signature."""
    return {
        "document": erasure.document,
        "signature": {
            "algorithm": ALGORITHM,
            "key": erasure.key_id,
            "public_key": public_key,
            "value": erasure.signature,
        },
    }


def verify(text: str | bytes, *, public_key: str | None = None) -> Json:
    """Check a certificate and give its document; raise `BadCertificate` otherwise.

    Without *public_key* (base64) the one in the certificate is taken: that shows that nothing was changed since it was
    signed, but not by whom.
    """
    try:
        read = json.loads(text)
        document, signature = read["document"], read["signature"]
        algorithm, value, given = signature["algorithm"], signature["value"], signature["public_key"]
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key or given, validate=True))
        signed = base64.b64decode(value, validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise BadCertificate(f"This is no certificate: {error!r}.") from error
    if algorithm != ALGORITHM:
        raise BadCertificate(f"The signature is of an unknown kind, {algorithm!r}.")
    try:
        key.verify(signed, canonical(document))
    except InvalidSignature as error:
        raise BadCertificate(
            "The signature does not fit: the certificate was changed, or signed by another key."
        ) from error
    return dict(document)
