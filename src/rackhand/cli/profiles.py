"""Where the command line keeps its tokens: one file of the user's, which nobody else may read."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import typer

DEFAULT = "default"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NoProfile(Exception):
    """There is no profile to use; its text says what to do."""


@dataclass(frozen=True)
class Profile:
    """A server, and the token that it gave."""

    url: str
    token: str = field(repr=False)
    email: str = ""
    ca_file: str = ""
    insecure: bool = False


def place() -> Path:
    """The file: `~/.config/rackhand/profiles.json`, or under `$XDG_CONFIG_HOME`."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) / "rackhand" if folder else Path(typer.get_app_dir("rackhand"))) / "profiles.json"


def load(name: str) -> Profile:
    """Return a profile; `RACKHAND_URL` and `RACKHAND_TOKEN` together stand for one."""
    url, token = os.environ.get("RACKHAND_URL"), os.environ.get("RACKHAND_TOKEN")
    if url and token:
        return Profile(url, token, ca_file=os.environ.get("RACKHAND_CA_FILE", ""))
    profile = known(name)
    if profile is None:
        raise NoProfile(f"You are not signed in (profile {name}). Sign in with: rackhand login URL")
    return profile


def known(name: str) -> Profile | None:
    """The profile of this name that is kept, if there is one."""
    return _read().get(name)


def save(name: str, profile: Profile) -> None:
    """Write a profile down, beside the others."""
    _write({**_read(), name: profile})


def forget(name: str) -> None:
    """Drop a profile; does nothing when there is none."""
    kept = _read()
    if kept.pop(name, None) is not None:
        _write(kept)


def _read() -> dict[str, Profile]:
    try:
        with place().open() as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except FileNotFoundError:
        return {}
    if mode & OTHERS:
        raise NoProfile(
            f"{place()} can be read by others (mode {stat.S_IMODE(mode):04o}), so its tokens are not safe."
            f" Sign out and in again, or: chmod 600 {place()}"
        )
    try:
        return {name: Profile(**values) for name, values in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise NoProfile(f"{place()} is damaged: {error}. Delete it and sign in again.") from error


def _write(profiles: Mapping[str, Profile]) -> None:
    """Replace the file as a whole: it is never half written, and never readable by others."""
    target = place()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o700)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({name: asdict(profile) for name, profile in profiles.items()}, file, indent=2)
    fresh.replace(target)
