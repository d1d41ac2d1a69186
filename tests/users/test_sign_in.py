"""Guessing is slowed down, and the right person still gets in."""

import asyncio
from datetime import timedelta

from sqlalchemy import func, select

from rackhand.app import Services
from rackhand.users.model import SignInFailure, User
from rackhand.users.signin import PER_ACCOUNT, PER_ACCOUNT_AND_ADDRESS, PER_ADDRESS
from tests.conftest import ADMIN, PASSWORD, Api
from tests.users.callers import caller, set_age

TOKEN = "/auth/v4/public/token"
WRONG = {"email": ADMIN, "password": "guess"}


async def test_guessing_is_refused_here_and_the_right_person_gets_in_from_elsewhere(
    admin: Api, anonymous: Api, services: Services
) -> None:
    for _ in range(PER_ACCOUNT_AND_ADDRESS):
        await anonymous.refused(401, "POST", TOKEN, WRONG)
    response = await anonymous.call("POST", TOKEN, {"email": ADMIN, "password": PASSWORD})
    assert (response.status_code, response.headers["retry-after"]) == (429, "900")
    assert response.json()["error"]["code"] == 2429
    assert response.json()["error"]["value"] == {"retry_after": 900}
    assert (await anonymous.call("POST", "/auth/v3/auth", WRONG)).status_code == 429
    async with caller(services, "198.51.100.7") as elsewhere:
        assert await elsewhere.sign_in(ADMIN)
    await set_age(services, failures=timedelta(minutes=16))
    assert await anonymous.sign_in(ADMIN)


async def test_the_answer_to_a_guesser_does_not_tell_whether_the_account_exists(
    anonymous: Api, admin: Api
) -> None:
    answers = []
    for email in (ADMIN, "nobody@example.com"):
        body = {"email": email, "password": "guess"}
        codes = [await anonymous.call("POST", TOKEN, body) for _ in range(PER_ACCOUNT_AND_ADDRESS + 1)]
        answers.append([(answer.status_code, answer.text) for answer in codes])
    assert answers[0] == answers[1]


async def test_a_right_password_forgets_the_failures_before_it(anonymous: Api, admin: Api) -> None:
    for _ in range(3):
        for _ in range(PER_ACCOUNT_AND_ADDRESS - 1):
            await anonymous.refused(401, "POST", TOKEN, WRONG)
        assert await anonymous.sign_in(ADMIN)


async def test_an_address_that_tries_many_accounts_is_refused(admin: Api, services: Services) -> None:
    await add_failures(services, PER_ADDRESS, email="nobody-{}@example.com", address="203.0.113.1")
    async with caller(services, "203.0.113.1") as guesser:
        await guesser.refused(429, "POST", TOKEN, {"email": ADMIN, "password": PASSWORD})
    async with caller(services, "203.0.113.2") as other:
        assert await other.sign_in(ADMIN)


async def test_guesses_from_everywhere_leave_the_addresses_of_the_right_person_open(
    admin: Api, anonymous: Api, services: Services
) -> None:
    await add_failures(services, PER_ACCOUNT, email=ADMIN, address="203.0.113.{}")
    async with caller(services, "198.51.100.7") as stranger:
        await stranger.refused(429, "POST", TOKEN, {"email": ADMIN, "password": PASSWORD})
    assert await anonymous.sign_in(ADMIN)  # from where the fixture has signed in before


async def test_guesses_that_arrive_together_count_as_many(admin: Api, services: Services) -> None:
    async with caller(services, "203.0.113.9") as guesser:
        answers = await asyncio.gather(*(guesser.call("POST", TOKEN, WRONG) for _ in range(16)))
    statuses = [answer.status_code for answer in answers]
    assert sorted(set(statuses)) == [401, 429]
    if services.db.is_sqlite:
        assert statuses.count(401) == PER_ACCOUNT_AND_ADDRESS


async def test_many_who_sign_in_together_all_get_in(admin: Api, anonymous: Api) -> None:
    signed_in = await asyncio.gather(*(anonymous.sign_in(ADMIN) for _ in range(12)))
    assert len({api.token for api in signed_in}) == 12


async def test_a_blocked_account_is_refused_with_the_same_words(admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/user/2/block")
    right = {"email": "customer@example.com", "password": PASSWORD}
    error = await customer.refused(401, "POST", TOKEN, right)
    assert error == {"code": 1000, "msg": "The e-mail address or the password is wrong."}


async def test_odd_credentials_are_refused_and_never_crash(admin: Api, anonymous: Api) -> None:
    odd: tuple[object, ...] = (
        {}, [], "null", "5", {"email": ADMIN}, {"password": "x"}, {"email": None, "password": None},
        {"email": 5, "password": "x"}, {"email": ADMIN, "password": 5}, {"email": ADMIN, "password": {"$ne": ""}},
        {"email": [ADMIN], "password": PASSWORD}, {"email": "x" * 300, "password": "x"},
        {"email": ADMIN, "password": "x" * 1025},
    )  # fmt: skip
    for body in odd:
        assert (await anonymous.refused(400, "POST", TOKEN, body))["code"] == 2400, body
    for email in ("", " ", "' OR 1=1 --", "%", "\u202e@example.com"):
        await anonymous.refused(401, "POST", TOKEN, {"email": email, "password": "pass"})


async def test_refused_sign_ins_stand_in_the_history_without_the_password(admin: Api, anonymous: Api) -> None:
    await anonymous.refused(401, "POST", TOKEN, {"email": ADMIN, "password": "hunter22"})
    events = (await admin.get("/dci/v3/event?where=kind EQ 'user.sign_in_refused'"))["list"]
    assert [(event["subject"]["name"], event["address"]) for event in events] == [(ADMIN, "192.0.2.10")]
    assert "hunter22" not in str(events)


async def add_failures(services: Services, count: int, *, email: str, address: str) -> None:
    """Write refused sign-ins down; `{}` stands for a number."""
    from rackhand.db import utcnow

    async with services.db.write() as session:
        for number in range(count):
            row = SignInFailure(email=email.format(number), address=address.format(number), at=utcnow())
            session.add(row)
        await session.flush()
        assert await session.scalar(select(func.count()).select_from(SignInFailure)) == count
        assert await session.scalar(select(func.count()).select_from(User)) == 1
