"""The memo of a task under two workers that are at the same step."""

from typing import Any

import pytest

from rackhand.tasks.turns import merged_memo


@pytest.mark.parametrize(
    ("stored", "left", "began", "expected"),
    [
        ({}, {"a": 1}, (), {"a": 1}),
        ({"a": 1}, {"a": 2}, ("a",), {"a": 2}),
        ({"a": 1, "b": 1}, {"b": 1}, ("a", "b"), {"b": 1}),
        # What the other worker noted meanwhile stays.
        ({"a": 1, "before": {"7": "up"}}, {"a": 1}, ("a",), {"a": 1, "before": {"7": "up"}}),
        ({"before": {"7": "up"}}, {"before": {"8": "up"}}, (), {"before": {"7": "up", "8": "up"}}),
        ({"boot": {"rung": 0, "stage": "off"}}, {"boot": {"rung": 0, "stage": "on"}}, ("boot",),
         {"boot": {"rung": 0, "stage": "on"}}),
    ],
)  # fmt: skip
def test_what_both_have_noted_is_kept(
    stored: dict[str, Any], left: dict[str, Any], began: tuple[str, ...], expected: dict[str, Any]
) -> None:
    assert merged_memo(stored, left, frozenset(began)) == expected
