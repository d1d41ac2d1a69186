"""Images: uploaded in pieces or at once, checked before any machine can load them, deleted when nothing needs them.

The file of an upload lies outside of what the boot listener serves; it moves there when it is checked.
"""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Database, after_commit, utcnow
from rackhand.deploy import image_files, minisign
from rackhand.deploy.image_files import BadImage, Checked
from rackhand.deploy.minisign import BadSignature
from rackhand.deploy.os_model import ImageState, OsImage, OsTemplate
from rackhand.errors import Conflict, Invalid, NotFound, Unavailable
from rackhand.events.service import Actor, Subject, record
from rackhand.settings import Settings
from rackhand.tasks.model import ACTIVE, Task

log = structlog.get_logger()

SUBJECT = "os_image"
FOLDER = "images"
WRITE_BYTES = 4 << 20
TELL_BYTES = 64 << 20  # how often the row says how far an upload is
OVER = (ImageState.READY, ImageState.CHECKING)


def subject_of(image: OsImage) -> Subject:
    """An image as the subject of an event; it belongs to the operator."""
    return Subject(SUBJECT, image.id, image.name, None)


def served_folder(settings: Settings) -> Path:
    """Where files lie that machines may load."""
    return settings.data / "boot" / FOLDER


def path_of(image: OsImage) -> str:
    """The path of a ready image below the boot listener."""
    return f"/boot/file/{FOLDER}/{image.file}"


async def by_id(session: AsyncSession, image_id: int) -> OsImage:
    """One image."""
    image = await session.get(OsImage, image_id)
    if image is None:
        raise NotFound(f"There is no image {image_id}.")
    return image


async def add_image(
    session: AsyncSession,
    settings: Settings,
    *,
    name: str,
    source_format: str,
    sha256: str,
    minisig: str,
    notes: str,
    actor: Actor,
) -> OsImage:
    """Announce an image, whose file comes later. Raises `Invalid` for a signature that cannot hold."""
    if source_format not in image_files.SOURCE_FORMATS:
        known = ", ".join(image_files.SOURCE_FORMATS)
        raise Invalid(f"format: expected one of {known}, got {source_format[:40]!r}.")
    if settings.image_keys and not minisig:
        raise Invalid("minisig: needed here, because the setting `image_keys` names who may sign images.")
    if minisig:
        try:
            minisign.parse_signature(minisig)
        except BadSignature as error:
            raise Invalid(f"minisig: {error}") from error
    image = OsImage(
        name=name,
        source_format=source_format,
        expected_sha256=sha256,
        minisig=minisig,
        notes=notes,
        state=ImageState.NEW,
        created_at=utcnow(),
    )
    await _save(session, image)
    record(
        session, "os_image.created", f"Image {name} was announced.", subject=subject_of(image), actor=actor
    )
    return image


async def edit_image(session: AsyncSession, image: OsImage, values: dict[str, Any], *, actor: Actor) -> None:
    """Change name or notes."""
    for name, value in values.items():
        setattr(image, name, value)
    await _save(session, image)
    record(session, "os_image.changed", f"Image {image.name} was changed.", subject=subject_of(image),
           actor=actor)  # fmt: skip


async def delete_image(session: AsyncSession, settings: Settings, image: OsImage, *, actor: Actor) -> None:
    """Delete an image with its file, unless a template or a running installation needs it."""
    name = await session.scalar(select(OsTemplate.name).where(OsTemplate.image_id == image.id).limit(1))
    if name is not None:
        raise Conflict(f"Image {image.id} is used by the template {name}. Change or delete that first.")
    running = await session.scalars(select(Task).where(Task.status.in_(ACTIVE), Task.name == "operation_os"))
    for task in running:
        if task.params.get("image_id") == image.id:
            raise Conflict(f"Image {image.id} is being installed by task {task.id}.")
    record(session, "os_image.deleted", f"Image {image.name} was deleted.", subject=subject_of(image),
           actor=actor)  # fmt: skip
    paths = [incoming_path(settings, image.id)]
    if image.file:
        paths.append(served_folder(settings) / image.file)
    await session.delete(image)

    async def unlink() -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    after_commit(session, unlink)


async def _save(session: AsyncSession, image: OsImage) -> None:
    try:
        async with session.begin_nested():
            session.add(image)
            await session.flush()
    except IntegrityError as error:
        raise Conflict("There is an image of this name already.") from error


# --- receiving


def incoming_path(settings: Settings, image_id: int) -> Path:
    """Where the file of an upload grows."""
    return settings.data / "incoming" / f"image-{image_id}"


async def receive(
    db: Database,
    settings: Settings,
    image_id: int,
    content: AsyncIterator[bytes],
    *,
    offset: int,
    actor: Actor,
) -> Checked:
    """Take the file of an image, or what is left of it from *offset* on, and check it.

    The end of *content* is the end of the file. When it breaks off, what has come stays, and the next call goes on
    there: `Conflict` names the offset. Raises `Invalid` when the file is no image or not the announced one.
    """
    path = incoming_path(settings, image_id)
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    with _locked(path, image_id) as file:
        await _begin(db, image_id, file, offset)
        try:
            await _write(db, image_id, file, content, offset)
        except OSError as error:
            raise Unavailable(f"The image cannot be stored: {error.strerror}.") from error
        finally:
            await _tell(db, image_id, received_bytes=os.fstat(file.fileno()).st_size)
        return await _finish(db, settings, image_id, path, actor=actor)


async def take_file(
    db: Database, settings: Settings, image_id: int, source: Path, *, actor: Actor
) -> Checked:
    """Take the file of an image from this machine; *source* stays as it is."""
    path = incoming_path(settings, image_id)
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    with _locked(path, image_id) as file:
        await _begin(db, image_id, file, 0)
        await asyncio.to_thread(shutil.copyfile, source, path)
        await _tell(db, image_id, received_bytes=path.stat().st_size)
        return await _finish(db, settings, image_id, path, actor=actor)


@contextmanager
def _locked(path: Path, image_id: int) -> Iterator[BinaryIO]:
    """The growing file; whoever comes second is told so, in whatever process. A crash frees it."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"Image {image_id} is being uploaded by somebody else.") from error
        yield file


async def _begin(db: Database, image_id: int, file: BinaryIO, offset: int) -> None:
    async with db.write() as session:
        image = await by_id(session, image_id)
        if image.state == ImageState.READY:
            raise Conflict(f"Image {image_id} is complete. Add another one for another file.")
        size = os.fstat(file.fileno()).st_size
        if image.state == ImageState.BROKEN:
            size = 0
            file.truncate(0)
        if offset > size:
            raise Conflict(
                f"Image {image_id}: {size} bytes are here, so go on at offset {size}.",
                value={"received": size},
            )
        file.truncate(offset)
        image.state, image.problem, image.received_bytes = ImageState.RECEIVING, None, offset


async def _write(
    db: Database, image_id: int, file: BinaryIO, content: AsyncIterator[bytes], received: int
) -> None:
    """Write *content* in large pieces; when it breaks off, what has come is written all the same."""
    told, gathered = received, bytearray()
    try:
        async for chunk in content:
            gathered += chunk
            if len(gathered) < WRITE_BYTES:
                continue
            await asyncio.to_thread(_append, file, bytes(gathered))
            received += len(gathered)
            gathered.clear()
            if received - told >= TELL_BYTES:
                told = received
                await _tell(db, image_id, received_bytes=received)
    finally:
        _append(file, bytes(gathered))


def _append(file: BinaryIO, piece: bytes) -> None:
    file.write(piece)
    file.flush()


async def _tell(db: Database, image_id: int, **values: object) -> None:
    async with db.write() as session:
        image = await session.get(OsImage, image_id)
        if image is not None:
            for name, value in values.items():
                setattr(image, name, value)


async def _finish(db: Database, settings: Settings, image_id: int, path: Path, *, actor: Actor) -> Checked:
    """Check what has come, and have it served; a file that fails is deleted."""
    async with db.write() as session:
        image = await by_id(session, image_id)
        image.state = ImageState.CHECKING
        wanted = (image.expected_sha256, image.minisig, image.source_format)
    async with _scratch(settings, image_id) as scratch:
        try:
            checked, signed_by = await asyncio.to_thread(_check, settings, path, scratch, wanted)
        except (BadImage, BadSignature) as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            await _tell(db, image_id, state=ImageState.BROKEN, problem=str(error), received_bytes=0)
            raise Invalid(f"Image {image_id} cannot be used. {error}") from error
        except BaseException:
            await _tell(db, image_id, state=ImageState.RECEIVING)
            raise
        name = f"{image_id}-{checked.sha256[:16]}.{checked.format}"
        await asyncio.to_thread(_serve_file, checked.path, served_folder(settings) / name, path)
    async with db.write() as session:
        image = await by_id(session, image_id)
        image.state, image.ready_at, image.signed_by = ImageState.READY, utcnow(), signed_by
        image.format, image.file, image.sha256 = checked.format, name, checked.sha256
        image.size_bytes, image.unpacked_bytes = checked.size_bytes, checked.unpacked_bytes
        image.system = checked.system
        words = (
            f"Image {image.name} is ready: {checked.system or checked.format}, {checked.size_bytes} bytes."
        )
        record(session, "os_image.ready", words, subject=subject_of(image), actor=actor)
    log.info("image is ready", image=image_id, bytes=checked.size_bytes, sha256=checked.sha256)
    return checked


def _serve_file(checked: Path, target: Path, received: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(checked, target)
    received.unlink(missing_ok=True)


@asynccontextmanager
async def _scratch(settings: Settings, image_id: int) -> AsyncIterator[Path]:
    folder = settings.data / "incoming" / f"work-{image_id}"
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _check(
    settings: Settings, path: Path, scratch: Path, wanted: tuple[str, str, str]
) -> tuple[Checked, str]:
    """Checksum, signature and content, in the order of their cost."""
    expected_sha256, signature, source_format = wanted
    if expected_sha256 and (found := image_files.hash_file(path).hex()) != expected_sha256:
        raise BadImage(f"Its SHA-256 is {found}, announced was {expected_sha256}.")
    signed_by = ""
    if signature and settings.image_keys:
        digest = image_files.hash_file(path, "blake2b")
        signed_by = minisign.verify(minisign.parse_signature(signature), digest, settings.image_keys)
    return image_files.check(path, source_format, scratch), signed_by
