"""Debian trees made by mmdebstrap from the apt sources of this machine, with versions that are known beforehand."""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURE = "amd64"
SUITE_OPTIONS = ("-o", f"APT::Architecture={ARCHITECTURE}", "-o", f"APT::Architectures={ARCHITECTURE}")
# An empty system, whose caches are not those of this one.
EMPTY_SYSTEM = (
    *("-o", "Dir::State::status=/dev/null", "-o", "Dir::State::extended_states=/dev/null"),
    *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "APT::Install-Recommends=false"),
)
INSTALLED = re.compile(r"^Inst (\S+) \((\S+) ", re.MULTILINE)


class BuildFailed(Exception):
    """An image cannot be made here; the message is a sentence for whoever asked for it."""


@dataclass(frozen=True)
class Archive:
    """A package archive of this machine: what stands in a line of `sources.list`."""

    uri: str
    suite: str
    components: tuple[str, ...]

    @property
    def line(self) -> str:
        """The line."""
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


def archives() -> list[Archive]:
    """Return the Debian archives that apt uses here; others, of vendors for instance, are left out."""
    wanted = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ARCHITECTURE)"
    rows = [
        row.split("|")
        for row in _apt("indextargets", "--format", wanted, "Created-By: Packages").splitlines()
    ]
    found: dict[tuple[str, str], list[str]] = {}
    for origin, uri, suite, component, architecture in rows:
        if origin == "Debian" and architecture == ARCHITECTURE:
            found.setdefault((uri, suite), []).append(component)
    if not found:
        raise BuildFailed("apt has no lists of a Debian archive here. Run `apt-get update` first.")
    return [Archive(uri, suite, tuple(components)) for (uri, suite), components in found.items()]


def resolve(packages: Sequence[str]) -> list[str]:
    """Return `name=version` of *packages* and everything that they need, sorted, by the lists that apt has now."""
    found: list[tuple[str, str]] = INSTALLED.findall(
        _apt(*SUITE_OPTIONS, *EMPTY_SYSTEM, "--simulate", "install", *packages)
    )
    return sorted(f"{name.partition(':')[0]}={version}" for name, version in found)


@contextmanager
def extracted(packages: Sequence[str], *, epoch: int) -> Iterator[tarfile.TarFile]:
    """Give a tree of *packages* (from `resolve`) as a tar stream; none of their scripts has run.

    That needs no root, takes no time of a configuration, and gives the same bytes for the same packages.
    """
    if shutil.which("mmdebstrap") is None:
        raise BuildFailed("mmdebstrap is not installed: apt-get install mmdebstrap")
    where = archives()
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        "--format=tar",
        f"--architectures={ARCHITECTURE}",
    ]
    command += ["--aptopt=APT::Install-Recommends false", f"--include={','.join(packages)}"]
    command += [where[0].suite, "-", *(archive.line for archive in where)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                yield tar
        except tarfile.ReadError as error:
            raise BuildFailed("mmdebstrap gave no tree; it said why above.") from error
        finally:
            if process.stdout is not None:
                process.stdout.close()
            status = process.wait()
    if status:
        raise BuildFailed(f"mmdebstrap ended with {status}. When packages are missing, run `apt-get update`.")


def epoch_of(environment: str | None, default: int) -> int:
    """Read `SOURCE_DATE_EPOCH` (reproducible-builds.org): the time that all files of an image have."""
    if not environment:
        return default
    if not environment.isascii() or not environment.isdigit():
        raise BuildFailed(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {environment!r}.")
    return int(environment)


def _apt(*arguments: str) -> str:
    if shutil.which("apt-get") is None:
        raise BuildFailed("There is no apt-get here: images are made on Debian.")
    command = ["apt-get", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"apt-get says: {done.stderr.strip()[-500:]}")
    return done.stdout


def place_of_cache() -> Path:
    """Where things are kept that took long to make, for all checkouts and data directories of this account."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rackhand"
