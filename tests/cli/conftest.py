"""A served product, and the command line in a home of its own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rackhand.cli.main import app
from tests.conftest import ADMIN, PASSWORD
from tests.served import ServedProduct

Run = Callable[..., Result]


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProduct]:
    with ServedProduct(tmp_path_factory.mktemp("product")) as served:
        yield served


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the profiles are."""
    for name in [name for name in os.environ if name.startswith("RACKHAND_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "rackhand"


@pytest.fixture
def stranger(home: Path) -> Run:
    """Run a verb; what is not said to be standard input is empty."""

    def run(*words: object, stdin: str = "", code: int | None = 0) -> Result:
        seen = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        assert code is None or seen.exit_code == code, (seen.exit_code, seen.output, seen.exception)
        return seen

    return run


@pytest.fixture
def rackhand(product: ServedProduct, stranger: Run) -> Run:
    """The same, signed in as the administrator."""
    stranger("login", product.url, "--email", ADMIN, "--password-stdin", stdin=f"{PASSWORD}\n")
    return stranger
