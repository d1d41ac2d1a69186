"""Version 3's security: keys of the standards, and messages that are forged, replayed, or not secured as asked."""

import hashlib
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.type.univ import OctetString
from pysnmp.entity import config
from pysnmp.proto.secmod.rfc3414 import localkey

from rackhand.hardware.snmp_message import GET, REPORT, RESPONSE, UNSET, Index, Malformed, integer, pdu
from rackhand.hardware.snmp_usm import (
    CIPHERS,
    DIGESTS,
    Engine,
    User,
    discovered,
    discovery,
    localized_key,
    word_of,
)

ENGINE = bytes.fromhex("000000000000000000000002")
SYS_NAME = (1, 3, 6, 1, 2, 1, 1, 5, 0)
ANSWER = pdu(RESPONSE, 7, [(SYS_NAME, integer(5))])


@pytest.mark.parametrize(
    ("digest", "key"),
    [  # RFC 3414, A.3.2; RFC 7860 gives none
        ("md5", "526f5eed9fcce26f8964c2930787d82b"),
        ("sha1", "6695febc9288e36282235fc7151f128497b38f3f"),
    ],
)
def test_keys_of_the_standard(digest: str, key: str) -> None:
    assert localized_key(b"maplesyrup", ENGINE, digest).hex() == key


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_keys_are_those_of_another_implementation(name: str) -> None:
    digest = getattr(hashlib, name)
    theirs = localkey.localize_key(
        localkey.hash_passphrase(b"auth-password", digest), OctetString(ENGINE), digest
    )
    assert localized_key(b"auth-password", ENGINE, name) == bytes(theirs)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("AES-192", config.USM_PRIV_CFB192_AES_BLUMENTHAL),
        ("AES-256", config.USM_PRIV_CFB256_AES_BLUMENTHAL),
        ("AES-192-Cisco", config.USM_PRIV_CFB192_AES),
        ("AES-256-Cisco", config.USM_PRIV_CFB256_AES),
    ],
)
def test_longer_keys_are_those_of_another_implementation(kind: str, theirs: Index) -> None:
    cipher = CIPHERS[kind]
    key = localized_key(b"priv-password", ENGINE, "sha1")
    key += cipher.extend(key, ENGINE, "sha1")
    master = localkey.hash_passphrase(b"priv-password", hashlib.sha1)
    service = config.PRIV_SERVICES[theirs]
    other = service.localize_key(config.USM_AUTH_HMAC96_SHA, master, OctetString(ENGINE))
    assert key[: cipher.key_octets] == bytes(other)


def user(digest: str = "SHA-256", cipher: str = "AES", **changes: bytes) -> User:
    given = {"password": b"auth-password", "cipher_password": b"priv-password", **changes}
    made = User("admin", digest=DIGESTS.get(digest), cipher=CIPHERS.get(cipher), **given)
    made.meet(Engine(ENGINE, boots=3, clock=1000))
    return made


LEVELS = [("none", "none"), ("SHA", "none"), *((digest, cipher) for digest in DIGESTS for cipher in CIPHERS)]


@pytest.mark.parametrize(("digest", "cipher"), LEVELS)
def test_what_is_sealed_is_opened_by_who_has_the_passwords(digest: str, cipher: str) -> None:
    message = user(digest, cipher).seal(41, ANSWER)
    number, read = user(digest, cipher).open(message)
    assert (number, read.request_id, read.pairs) == (41, 7, [(SYS_NAME, 5)])
    assert (ANSWER in message) is (cipher == "none")


def test_no_two_messages_are_encrypted_alike() -> None:
    sender = user()
    assert len({sender.seal(41, ANSWER)[-40:] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("sender", "words"),
    [
        (user(password=b"other-password"), "a wrong signature"),
        (user("none", "none"), "less security"),
        (user("SHA-256", "none"), "less security"),
        (user("SHA"), "wrong signature|cut off|type"),
    ],
)
def test_answer_that_is_not_secured_as_asked_is_not_taken(sender: User, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        user().open(sender.seal(41, ANSWER))


def test_other_password_of_the_cipher_gives_no_answer() -> None:
    with pytest.raises(Malformed):
        user().open(user(cipher_password=b"other-password").seal(41, ANSWER))


@given(st.data())
def test_message_that_was_changed_on_the_way_is_not_taken(data: st.DataObject) -> None:
    message = bytearray(user().seal(41, ANSWER))
    place = data.draw(st.integers(0, len(message) - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda octet: octet != message[place]))
    message[place] = octet
    with pytest.raises(Malformed):
        user().open(bytes(message))


@given(st.binary(max_size=200))
def test_octets_of_chance_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        user().open(data)


def test_message_of_the_past_is_not_taken() -> None:
    receiver, sender = user(), user()
    receiver.open(sender.seal(41, ANSWER))
    for engine in (Engine(ENGINE, 2, 5000), Engine(ENGINE, 3, 800)):
        sender.engine = engine
        with pytest.raises(Malformed, match="of the past"):
            receiver.open(sender.seal(42, ANSWER))
    for engine in (Engine(ENGINE, 3, 900), Engine(ENGINE, 4, 0)):
        sender.engine = engine
        receiver.open(sender.seal(43, ANSWER))
    assert (receiver.engine.boots, receiver.engine.clock) == (4, 0)


def test_unsigned_report_tells_of_a_wrong_clock_and_does_not_set_it() -> None:
    receiver, stranger = user(), user("none", "none")
    report = pdu(REPORT, 0, [((1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0), integer(1))])
    number, read = receiver.open(stranger.seal(41, report))
    assert (number, word_of(read)) == (41, "notInTimeWindow")
    assert receiver.engine.boots == 3


def test_other_engine_may_only_say_that_it_is_another() -> None:
    receiver, other = user(), user("none", "none")
    other.meet(Engine(b"\x80\x00\x00\x00\x09other", 1, 1))
    for last, word in ((4, "unknownEngineID"), (3, "")):
        report = pdu(REPORT, 0, [((1, 3, 6, 1, 6, 3, 15, 1, 1, last, 0), integer(1))])
        if word:
            assert word_of(receiver.open(other.seal(41, report))[1]) == word
        else:
            with pytest.raises(Malformed, match="another engine"):
                receiver.open(other.seal(41, report))


def test_clock_of_the_engine_goes_on() -> None:
    engine = replace(Engine(ENGINE, 3, 1000), seen=time.monotonic() - 60)
    assert 1060 <= engine.now() < 1070


def test_engine_is_discovered_from_its_report() -> None:
    answering = user("none", "none")
    report = pdu(REPORT, 0, [((1, 3, 6, 1, 6, 3, 15, 1, 1, 4, 0), integer(1))])
    number, engine = discovered(answering.seal(41, report))
    assert (number, engine.id) == (41, ENGINE)
    with pytest.raises(Malformed, match="no report"):
        discovered(answering.seal(41, ANSWER))
    assert ENGINE not in discovery(41, pdu(GET, 1, [(SYS_NAME, UNSET)]))
