"""docs/client.md: its examples run, and it names whatever is exported."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from mypy import api as mypy_api

from rackhand import sdk
from rackhand.sdk import Client, auth
from tests.served import ServedProduct

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
EXAMPLE = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def test_examples_run_and_print_what_stands_there(
    product: ServedProduct, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RACKHAND_URL", product.url)
    monkeypatch.setenv("RACKHAND_TOKEN", client.run(auth.create_token(description="docs")).token)
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) >= 8
    names: dict[str, object] = {}
    for source, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102  # our own page
        assert printed.getvalue() == expected or not expected
        assert printed.getvalue() or "print" not in source, source


def test_examples_are_typed(tmp_path: Path) -> None:
    program = tmp_path / "examples.py"
    program.write_text("\n".join(source for source, _ in EXAMPLE.findall(PAGE.read_text())))
    words, complaints, code = mypy_api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(program)])
    assert code == 0, words + complaints


def test_exported_names_are_described() -> None:
    words = set(re.findall(r"\w+", PAGE.read_text()))
    assert [name for name in sdk.__all__ if name not in words] == []
