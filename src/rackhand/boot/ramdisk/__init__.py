"""The ramdisk: a Debian that a machine loads over the network and runs from memory, with the agent in it.

Two archives in one file, which the kernel unpacks one after the other: the agent as it is here, and the rest, which
takes minutes to make and is kept under the hash of its recipe and of the versions of all its packages.
"""

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rackhand.agent
from rackhand.boot.debian import BuildFailed, epoch_of, extracted, place_of_cache, resolve
from rackhand.boot.ipxe import KERNEL, RAMDISK
from rackhand.boot.ramdisk import cpio, recipe
from rackhand.boot.ramdisk.cpio import Entry

MANIFEST = "manifest.json"
EPOCH = 1_735_689_600  # 2025-01-01; any moment does, as long as it stays
ZSTD = ("zstd", "-q", "-10", "-T2")  # the level costs a third of the time of 19 and gives some percent away
CPIO_BLOCK = 512
SOURCES = Path(__file__).parent
MODULES = "lib/modules/"
PYTHON = "usr/lib/python3"
AGENT = f"{PYTHON}/dist-packages/rackhand"


@dataclass(frozen=True)
class Built:
    """A ramdisk that is in place; *was_kept* says that the long part was not made anew."""

    folder: Path
    key: str
    packages: tuple[str, ...]
    was_kept: bool


def build_ramdisk(folder: Path, *, more: Sequence[str] = (), cache: Path | None = None) -> Built:
    """Put kernel, ramdisk and manifest into *folder*, with *more* packages, such as firmware of network cards.

    Equal packages give equal bytes; `SOURCE_DATE_EPOCH` sets the time of all files. Raises `BuildFailed`.
    """
    for program in ("zstd", "depmod"):
        if shutil.which(program) is None:
            raise BuildFailed(f"{program} is not installed: apt-get install zstd kmod")
    epoch = epoch_of(os.environ.get("SOURCE_DATE_EPOCH"), EPOCH)
    packages = resolve([*recipe.PACKAGES, *more])
    key = _key(packages, epoch)
    kept = (cache or place_of_cache()) / f"ramdisk-{key[:32]}"
    was_kept = kept.is_dir()
    if not was_kept:
        _build_base(kept, packages, epoch)
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / KERNEL, (kept / KERNEL).read_bytes())
    _put(folder / RAMDISK, _agent_archive(epoch) + (kept / RAMDISK).read_bytes())
    manifest = {
        "key": key,
        "packages": packages,
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
            for name in (KERNEL, RAMDISK)
        },
    }
    _put(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return Built(folder, key, tuple(packages), was_kept)


def _key(packages: Sequence[str], epoch: int) -> str:
    """Everything that the long part depends on, as a hash."""
    digest = hashlib.sha256(f"{epoch}\n".encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    digest.update("\n".join(packages).encode())
    return digest.hexdigest()


def _agent_archive(epoch: int) -> bytes:
    """The agent, uncompressed and padded: a compressed archive may follow."""
    package = Path(rackhand.agent.__file__).parent
    entries = [
        Entry.file(f"{AGENT}/agent/{path.relative_to(package)}", path.read_bytes())
        for path in sorted(package.rglob("*.py"))
    ]
    entries.append(Entry.file(f"{AGENT}/__init__.py", b""))
    out = io.BytesIO()
    cpio.write(entries, out, epoch=epoch)
    return out.getvalue() + bytes(-out.tell() % CPIO_BLOCK)


def _build_base(place: Path, packages: Sequence[str], epoch: int) -> None:
    """Make the long part at *place*, whole or not at all."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="ramdisk-") as workshop:
        tree, made = Path(workshop) / "tree", Path(workshop) / "made"
        made.mkdir()
        with extracted(packages, epoch=epoch) as tar:
            found = _unpack(tar, tree, made / KERNEL)
        if not (made / KERNEL).exists():
            raise BuildFailed("There is no kernel among the packages.")
        _list_modules(found, tree)
        _compile_python(found, tree)
        _add_own(found)
        with (
            (made / RAMDISK).open("wb") as out,
            subprocess.Popen(ZSTD, stdin=subprocess.PIPE, stdout=out) as zstd,
        ):
            assert zstd.stdin is not None  # noqa: S101  # it is a pipe
            cpio.write(found.values(), zstd.stdin, epoch=epoch)  # type: ignore[arg-type]  # a pipe is written only
        if zstd.returncode:
            raise BuildFailed(f"zstd ended with {zstd.returncode}.")
        if not place.exists():
            made.rename(place)


def _unpack(tar: tarfile.TarFile, tree: Path, kernel: Path) -> dict[str, Entry]:
    """Put what is wanted into *tree*, and the kernel where it belongs; gives the entries by path."""
    found: dict[str, Entry] = {}
    for member in tar:
        path = member.name.removeprefix("./")
        if path.startswith("boot/vmlinuz-"):
            _save(tar, member, kernel)
        elif path in {"", "."} or _is_unwanted(path):
            continue
        elif member.isdir():
            found[path] = Entry.directory(path, member.mode & 0o7777)
        elif member.issym():
            found[path] = Entry.link(path, member.linkname)
        elif member.islnk():
            first = found.get(member.linkname.removeprefix("./"))
            if first is not None:
                found[path] = Entry(path, first.mode, first.content)
        elif member.isreg():
            _save(tar, member, tree / path)
            found[path] = Entry(path, stat.S_IFREG | member.mode & 0o7777, tree / path)
    return found


def _save(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # noqa: S101  # it is a plain file
    place.parent.mkdir(parents=True, exist_ok=True)
    with content, place.open("wb") as file:
        shutil.copyfileobj(content, file)
    place.chmod(member.mode & 0o755 | 0o600)


def _is_unwanted(path: str) -> bool:
    if path.startswith(recipe.UNWANTED):
        return True
    inside = path.partition("/kernel/")[2] if path.startswith(MODULES) else ""
    return bool(inside) and inside.startswith(recipe.UNWANTED_MODULES)


def _list_modules(found: dict[str, Entry], tree: Path) -> None:
    """Have `depmod` write down which of the modules that are left needs which."""
    for folder in (tree / MODULES).iterdir():
        command = ["depmod", "--basedir", str(tree), folder.name]
        subprocess.run(command, check=True)
        for path in folder.glob("modules.*"):
            name = f"{MODULES}{folder.name}/{path.name}"
            found[name] = Entry.file(name, path)


def _compile_python(found: dict[str, Entry], tree: Path) -> None:
    """Compile Python's library with the ramdisk's own Python: a machine would do it again at every boot."""
    libraries = ":".join(str(tree / path) for path in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"))
    home = next(iter(sorted((tree / "usr/lib").glob("python3.*"))), None)
    if home is None:
        raise BuildFailed("There is no Python among the packages.")
    loader = [str(tree / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"), "--library-path", libraries]
    python = [*loader, str(tree / "usr/bin" / home.name), "-S", "-B", "-m", "compileall", "-q", "-f"]
    # Checked by nobody: neither times nor contents change in the ramdisk. `-B`, because what compileall imports would
    # be written with the name of this folder in it; the seed, because sets are written in the order of their hashes.
    python += ["--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", "/", str(home)]
    variables = {"PYTHONHOME": str(tree / "usr"), "PYTHONHASHSEED": "0"}
    done = subprocess.run(python, check=False, capture_output=True, text=True, env=variables)
    if done.returncode:
        raise BuildFailed(f"The ramdisk's Python does not run here: {(done.stderr or done.stdout)[-500:]}")
    for path in home.rglob("*.pyc"):
        name = str(path.relative_to(tree))
        found[name] = Entry.file(name, path)


def _add_own(found: dict[str, Entry]) -> None:
    """Add what no package brings, or a package's script would have made."""
    own = [Entry.directory(path) for path in recipe.FOLDERS]
    own += [Entry.directory("root", 0o700), Entry.directory("tmp", 0o1777)]
    own += [Entry.link(path, target) for path, target in recipe.LINKS.items()]
    own += [
        Entry.link(f"usr/local/sbin/{name}", "/bin/busybox")
        for name in recipe.BUSYBOX
        if not any(f"{folder}/{name}" in found for folder in ("bin", "sbin", "usr/bin", "usr/sbin"))
    ]
    own += [
        Entry.file("init", SOURCES / "root/init", 0o755),
        Entry.file("usr/lib/rackhand/lease", SOURCES / "root/lease", 0o755),
        Entry.file("etc/ssh/sshd_config", SOURCES / "root/sshd_config"),
        Entry.file("etc/passwd", recipe.PASSWD.encode()),
        Entry.file("etc/group", recipe.GROUP.encode()),
        Entry.file("etc/shadow", recipe.SHADOW.encode(), 0o600),
        Entry.file("etc/hostname", b"rackhand\n"),
        Entry.file("etc/hosts", b"127.0.0.1 localhost rackhand\n::1 localhost\n"),
        Entry.file("etc/ssl/certs/ca-certificates.crt", _certificates(found)),
    ]
    found.update({entry.path: entry for entry in own})


def _certificates(found: dict[str, Entry]) -> bytes:
    paths = sorted(path for path in found if path.startswith(recipe.CERTIFICATES) and path.endswith(".crt"))
    contents = (found[path].content for path in paths)
    return b"".join(content.read_bytes() for content in contents if isinstance(content, Path))


def _put(path: Path, content: bytes) -> None:
    """Replace a file in one go: machines may be loading it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
