"""Passwords and keys for installed systems."""

import pytest
from passlib.hash import sha512_crypt

from rackhand.deploy import credentials
from rackhand.errors import Invalid
from tests.deploy.systems import KEY, PASSWORD


@pytest.mark.parametrize(
    "password", ["pass", "1234567", "password1", "Password123", "aaaaaaaaaa", "ab\ncdefgh", "x" * 129]
)
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid, match=r"^password: "):
        credentials.check_password(password, has_keys=True)


def test_a_password_may_be_left_out_with_keys_alone() -> None:
    credentials.check_password("", has_keys=True)
    credentials.check_password(PASSWORD, has_keys=False)
    with pytest.raises(Invalid, match="needed"):
        credentials.check_password("", has_keys=False)


@pytest.mark.parametrize(
    "key",
    [
        "ssh_keys",
        "ssh-ed25519",
        "ssh-ed25519 ****",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8W",
        "AAAA bbbb",
    ],
)
def test_a_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match=r"^ssh_pub_key"):
        credentials.parse_keys([KEY, key])


def test_lines_are_keys_and_each_counts_once() -> None:
    assert credentials.parse_keys([f"{KEY}\n\n{KEY}", f"  {KEY}"]) == [KEY]


async def test_a_system_recognises_its_password_by_the_hash() -> None:
    stored = await credentials.hash_for_system(PASSWORD)
    assert stored.startswith("$6$rounds=50000$")
    assert sha512_crypt.verify(PASSWORD, stored)
    assert await credentials.hash_for_system("") == ""


def test_a_made_up_password_is_strong_and_another_one_each_time() -> None:
    made = {credentials.one_time_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        credentials.check_password(password, has_keys=False)
        assert not set(password) & set("0O1lI")
