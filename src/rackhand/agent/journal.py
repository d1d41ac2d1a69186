"""The agent's memory of the commands of this boot: each is done once, and its outcome is given again when asked for."""

import json
import os
import re
from pathlib import Path
from typing import Any

COMMAND_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")

Json = dict[str, Any]
INTERRUPTED: Json = {
    "ok": False,
    "result": None,
    "error": "The agent was interrupted in the middle of this command.",
}


class Journal:
    """Kept in *directory*, which must not outlive the boot; in memory when that is None."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._outcomes: dict[str, Json] = {}
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in directory.glob("*.json"):
                self._outcomes[path.stem] = json.loads(path.read_bytes())

    def outcome(self, command_id: str) -> Json | None:
        """Return what came of a command, None when it was never begun."""
        return self._outcomes.get(command_id)

    def begin(self, command_id: str) -> None:
        """Remember that a command is being done; until `end` its outcome is that it was interrupted."""
        self.end(command_id, INTERRUPTED)

    def end(self, command_id: str, outcome: Json) -> None:
        """Remember what came of a command."""
        if not COMMAND_ID.fullmatch(command_id):
            raise ValueError(f"{command_id!r} is no id of a command.")
        self._outcomes[command_id] = outcome
        if self._directory is not None:
            beside = self._directory / f"{command_id}.new"
            with beside.open("w") as file:
                json.dump(outcome, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._directory / f"{command_id}.json")
