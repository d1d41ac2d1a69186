"""The few rules that no linter can say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from rackhand import logs
from rackhand.db import utcnow
from rackhand.hardware.interfaces import Endpoint
from rackhand.settings import Settings
from rackhand.users.model import Role, User
from rackhand.users.schemas import ChangePassword, CreateUser, Credentials
from rackhand.users.tokens import IssuedToken
from rackhand.vault import Vault

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "rackhand"
MAY_COMMIT = ("db.py", "http/", "tasks/")
SECRET = "swordfish"


def modules(*directories: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file with its syntax tree; the name is relative to the first directory."""
    for directory in directories:
        for path in sorted(directory.rglob("*.py")):
            yield path.relative_to(directories[0].parent).as_posix(), ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_transactions_are_committed_in_three_places() -> None:
    for name, tree in modules(SOURCE):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "commit":
                assert name.removeprefix("rackhand/").startswith(MAY_COMMIT), f"{name}:{node.lineno} commits"


def test_nothing_is_mocked() -> None:
    for name, tree in modules(ROOT / "src", ROOT / "src" / ".." / "tests"):
        for imported in imports(tree):
            assert not re.match(r"unittest\.mock|mock\b|pytest_mock", imported), f"{name} imports {imported}"


def test_one_module_knows_the_durable_engine() -> None:
    users = {
        name for name, tree in modules(SOURCE) for imported in imports(tree) if re.match(r"dbos\b", imported)
    }
    assert users == {"rackhand/tasks/engine.py"}


def test_every_module_begins_with_a_sentence() -> None:
    for name, tree in modules(SOURCE):
        first = (ast.get_docstring(tree) or "").split("\n\n")[0]
        assert first.rstrip("*").endswith((".", ":")) or name.endswith("/versions/__init__.py"), (
            f"{name}: {first!r}"
        )


@pytest.mark.parametrize(
    "thing",
    [
        Endpoint("ipmi", "192.0.2.1", 623, "ADMIN", SECRET),
        IssuedToken(1, SECRET, utcnow()),
        Vault({"key": SECRET.encode()}),
        User(id=1, email="a@example.com", password_hash=SECRET, role=Role.USER),
        Settings(secret_key=SECRET),
        Credentials(email="a@example.com", password=SECRET),
        CreateUser(email="a@example.com", password=SECRET),
        ChangePassword(password=SECRET, old_password=SECRET),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_a_secret_shows_in_no_text(thing: object) -> None:
    for text in (repr(thing), str(thing), f"{thing}", repr([thing]), repr({"thing": thing})):
        assert SECRET not in text
        assert text


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_in_the_log_show_no_local_variables(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", as_json=form == "json")
    password = SECRET
    try:
        int(f"{len(password)} letters")
    except ValueError:
        structlog.get_logger().exception("it failed")
    finally:
        structlog.reset_defaults()
    written = capfd.readouterr().err
    assert "9 letters" in written
    assert SECRET not in written
