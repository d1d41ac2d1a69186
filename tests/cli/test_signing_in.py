"""`rackhand login` and `logout`: where the token is kept, and who may read it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rackhand.cli import profiles
from rackhand.sdk import Client, NotSignedIn, auth
from tests.cli.conftest import Run
from tests.conftest import ADMIN, PASSWORD
from tests.served import ServedProduct


def test_token_is_kept_where_nobody_else_reads_it(rackhand: Run, home: Path) -> None:
    file = home / "profiles.json"
    assert file.stat().st_mode & 0o7777 == 0o600
    assert home.stat().st_mode & 0o7777 == 0o700
    kept = json.loads(file.read_text())["default"]
    assert kept["email"] == ADMIN
    assert PASSWORD not in file.read_text()
    assert kept["token"] not in repr(profiles.load("default"))
    assert [path.name for path in home.iterdir()] == ["profiles.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_file_that_others_may_read_is_refused(rackhand: Run, home: Path, mode: int) -> None:
    (home / "profiles.json").chmod(mode)
    assert "can be read by others" in rackhand("server", "list", code=3).stderr
    (home / "profiles.json").chmod(0o600)
    rackhand("server", "list")


def test_file_that_is_damaged(rackhand: Run, home: Path) -> None:
    (home / "profiles.json").write_text('{"default": {"url": 1, "colour": 2}}')
    assert "is damaged" in rackhand("server", "list", code=3).stderr


def test_logout_revokes_the_token(rackhand: Run, product: ServedProduct) -> None:
    token = profiles.load("default").token
    assert "Signed out" in rackhand("logout").output
    with Client(product.url, token=token) as client, pytest.raises(NotSignedIn):
        client.run(auth.whoami())
    assert "rackhand login" in rackhand("server", "list", code=3).stderr
    rackhand("logout", code=3)


def test_session_that_has_ended(rackhand: Run, product: ServedProduct) -> None:
    with Client(product.url, token=profiles.load("default").token) as client:
        client.run(auth.sign_out(profiles.load("default").token))
    assert "Sign in with" in rackhand("task", "list", code=3).stderr
    assert "had ended already" in rackhand("logout").output


def test_password_from_the_environment_and_a_token_that_lasts(
    product: ServedProduct, stranger: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RACKHAND_PASSWORD", PASSWORD)
    seen = stranger("login", product.url, "--email", ADMIN, "--days", 30, "--profile", "lab")
    assert seen.output == f"Signed in to {product.url} as {ADMIN} (administrator).\n"
    assert stranger("server", "list", "--profile", "lab").output.startswith("id")
    stranger("server", "list", code=3)
    token = profiles.load("lab").token
    stranger("login", product.url, "--token-stdin", stdin=f"{token}\n")
    stranger("server", "list")
    stranger("logout", "--profile", "lab")


def test_url_and_token_of_the_environment_are_a_profile(
    product: ServedProduct, stranger: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(product.url, email=ADMIN, password=PASSWORD) as client:
        monkeypatch.setenv("RACKHAND_TOKEN", client.sign_in().token)
    monkeypatch.setenv("RACKHAND_URL", product.url)
    stranger("server", "list")


def test_signing_in_again_needs_no_url(rackhand: Run, product: ServedProduct) -> None:
    assert (
        product.url in rackhand("login", "--email", ADMIN, "--password-stdin", stdin=f"{PASSWORD}\n").output
    )
    rackhand("logout")
    assert "Say where" in rackhand("login", "--email", ADMIN, "--password-stdin", code=2).stderr


def test_wrong_password(product: ServedProduct, stranger: Run, home: Path) -> None:
    words = ("login", product.url, "--email", "nobody@example.com", "--password-stdin")
    seen = stranger(*words, stdin="wrong\n", code=3)
    assert seen.stderr.count("\n") == 1
    assert "rackhand login" not in seen.stderr
    assert not home.exists()


def test_password_is_no_option(product: ServedProduct, stranger: Run) -> None:
    stranger("login", product.url, "--email", ADMIN, "--password", PASSWORD, code=2)
    assert "RACKHAND_PASSWORD" in stranger("login", product.url, "--email", ADMIN, code=2).stderr


def test_url_that_leads_nowhere(stranger: Run) -> None:
    words = ("--email", ADMIN, "--password-stdin")
    seen = stranger("login", "http://127.0.0.1:1", *words, stdin="x\n", code=7)
    assert "does not answer" in seen.stderr
    assert "Expected a URL" in stranger("login", "rackhand.example.com", *words, stdin="x\n", code=2).stderr


def test_password_is_asked_for_without_showing_it(product: ServedProduct, home: Path) -> None:
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "rackhand", "login", product.url],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    shown = _answer(leader, {"E-mail address": ADMIN, "Password": PASSWORD})
    assert program.wait(30) == 0
    assert PASSWORD not in shown
    assert "Signed in" in shown
    os.close(leader)
    assert profiles.load("default").email == ADMIN


def _answer(terminal: int, answers: dict[str, str]) -> str:
    """Type an answer after each question; what the terminal shows."""
    shown, begin = "", 0
    left = dict(answers)
    while True:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # the program has ended
            return shown
        question = next((each for each in left if f"{each}: " in shown[begin:]), None)
        if question:
            os.write(terminal, f"{left.pop(question)}\n".encode())
            begin = len(shown)
