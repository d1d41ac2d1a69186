"""Passwords and keys for installed systems: checked and hashed before anything else knows of them."""

import asyncio
import secrets
import string
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from passlib.hash import sha512_crypt

from rackhand.errors import Invalid
from rackhand.users.service import parse_ssh_key

MIN_PASSWORD = 8
MAX_PASSWORD = 128
MIN_DIFFERENT = 5
MAX_KEYS = 50
ROUNDS = 50_000  # of sha512-crypt: a tenth of a second here, and at every login of the installed system
ONE_TIME_LENGTH = 16
# Without letters and digits that are read as others.
ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


def check_password(password: str, *, has_keys: bool) -> None:
    """Refuse a password that is missing or weak; with keys it may be left out. Raises `Invalid`."""
    if not password:
        if has_keys:
            return
        raise Invalid("password: needed, unless ssh_pub_keys are given.")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Invalid(f"password: expected {MIN_PASSWORD} to {MAX_PASSWORD} characters, got {len(password)}.")
    if not password.isprintable():
        raise Invalid("password: it holds a character that nobody can type.")
    if len(set(password)) < MIN_DIFFERENT or password.lower() in COMMON:
        raise Invalid("password: too easy to guess.")


def parse_keys(texts: Sequence[str]) -> list[str]:
    """Public keys in their canonical text, each once; lines are keys too. Raises `Invalid`."""
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_KEYS:
        raise Invalid(f"ssh_pub_keys: at most {MAX_KEYS} keys, got {len(lines)}.")
    return list(dict.fromkeys(parse_ssh_key(line).text for line in lines))


async def hash_for_system(password: str) -> str:
    """The hash that an installed system keeps in its /etc/shadow (sha512-crypt); empty for no password."""
    if not password:
        return ""
    return await asyncio.get_running_loop().run_in_executor(_threads(), _hash, password)


def one_time_password() -> str:
    """A password that is shown once."""
    return "".join(secrets.choice(ALPHABET) for _ in range(ONE_TIME_LENGTH))


def _hash(password: str) -> str:
    return str(sha512_crypt.using(rounds=ROUNDS).hash(password))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "passwords-systems")


# What is tried first, of eight characters and more.
COMMON = frozenset(
    (
        "12345678", "123456789", "1234567890", "password", "password1", "password12", "password123", "passw0rd",
        "p@ssw0rd", "qwertyui", "qwerty12", "qwerty123", "qwertyuiop", "1q2w3e4r", "1q2w3e4r5t", "1qaz2wsx",
        "iloveyou", "sunshine", "princess", "football", "baseball", "superman", "trustno1", "welcome1",
        "welcome123", "changeme", "changeme1", "letmein1", "administrator", "rootroot", "root1234", "admin123",
        "admin1234", "test1234", "abcd1234", "abc12345", "a1b2c3d4", "zaq12wsx",
    )
)  # fmt: skip
