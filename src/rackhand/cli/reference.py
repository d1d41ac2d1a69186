"""Reference pages that are made from the code."""

import tempfile
from pathlib import Path

from rackhand.settings import Settings


def settings_reference() -> str:
    """All settings as a Markdown table."""
    lines = [
        "# Settings",
        "",
        "Made by `rackhand settings`. Each is an environment variable, or a key of the TOML file given with `--config`",
        "(in lower case, without the prefix).",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default in ("", []) or name == "secret_key" else f"`{default}`"
        lines.append(f"| `RACKHAND_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


async def openapi() -> str:
    """The API description of an application over an empty database."""
    from rackhand.app import create_app, open_services, openapi_document

    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data=Path(directory), database_url="")
        async with open_services(settings, runs_tasks=False, polls=False) as services:
            return openapi_document(create_app(services))
