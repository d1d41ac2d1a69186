"""Examples of answers in the API document: what the product really answered on the virtual rack (`make docs`)."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("examples.json")


def is_described(path: str) -> bool:
    """Whether *path* is one of the API, which the document describes."""
    return path.startswith(("/dci/", "/ip/", "/vm/", "/auth/"))


def add_examples(document: dict[str, Any]) -> None:
    """Put the examples into the answers of an OpenAPI document."""
    examples: dict[str, Any] = json.loads(FILE.read_text())
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            example = examples.get(f"{method.upper()} {path}")
            content = operation.get("responses", {}).get("200", {}).get("content", {})
            if example is not None and "application/json" in content:
                content["application/json"]["example"] = example
