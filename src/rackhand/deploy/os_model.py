"""Tables of operating systems: images, templates, and what an installation keeps of its own while it runs."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rackhand.db import Base, Id


class ImageState(StrEnum):
    """`new -> receiving -> checking -> ready | broken`; only a ready image is sent to machines."""

    NEW = "new"
    RECEIVING = "receiving"
    CHECKING = "checking"
    READY = "ready"
    BROKEN = "broken"


class ImageFormat(StrEnum):
    """What an image is: the files of a system, or the bytes of a whole disk."""

    TAR_ZST = "tar.zst"
    RAW_ZST = "raw.zst"


class OsImage(Base):
    """A system as it is written to disks.

    `source_format` is what was, or is to be, uploaded; `expected_sha256` and `minisig` belong to that file, while
    `sha256` and `size_bytes` are of the file that machines load. `unpacked_bytes` is the room that it needs.
    """

    __tablename__ = "os_image"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    notes: Mapped[str] = mapped_column(default="")
    source_format: Mapped[str]
    expected_sha256: Mapped[str] = mapped_column(default="")
    minisig: Mapped[str] = mapped_column(default="")
    signed_by: Mapped[str] = mapped_column(default="")
    state: Mapped[str] = mapped_column(default=ImageState.NEW)
    problem: Mapped[str | None]
    received_bytes: Mapped[int] = mapped_column(Id, default=0)
    format: Mapped[str] = mapped_column(default="")
    file: Mapped[str] = mapped_column(default="")
    size_bytes: Mapped[int] = mapped_column(Id, default=0)
    sha256: Mapped[str] = mapped_column(default="")
    unpacked_bytes: Mapped[int] = mapped_column(Id, default=0)
    system: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]


class TemplateKind(StrEnum):
    """What a template starts."""

    OS = "os"
    RESCUE = "rescue"


class TemplateAccess(StrEnum):
    """Who may use a template."""

    EVERYONE = "everyone"
    ADMINS = "admins"


class TemplateBoot(StrEnum):
    """The firmware that a system starts with."""

    ANY = "any"
    BIOS = "bios"
    UEFI = "uefi"


class OsTemplate(Base):
    """What can be installed, as data: an image, how disks are divided for it, and what is said to the system.

    A rescue template has no image: it starts the built-in ramdisk. `partitions` are values of `layout.PartitionWish`;
    `script` runs at the first boot, with `macros` filled in.
    """

    __tablename__ = "os_template"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(default=TemplateKind.OS)
    os_group: Mapped[str] = mapped_column(default="")
    image_id: Mapped[int | None] = mapped_column(ForeignKey("os_image.id", ondelete="RESTRICT"), index=True)
    installer: Mapped[str] = mapped_column(default="image")
    boot_mode: Mapped[str] = mapped_column(default=TemplateBoot.ANY)
    min_disk_gb: Mapped[int] = mapped_column(default=0)
    access: Mapped[str] = mapped_column(default=TemplateAccess.EVERYONE)
    is_enabled: Mapped[bool] = mapped_column(default=True)
    tags: Mapped[list[Any]] = mapped_column(default=list)
    macros: Mapped[dict[str, Any]] = mapped_column(default=dict)
    raid_levels: Mapped[list[Any]] = mapped_column(default=list)
    partitions: Mapped[list[Any]] = mapped_column(default=list)
    script: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    image: Mapped[OsImage | None] = relationship(lazy="raise")


class Rescue(Base):
    """That a server was started into rescue, and until when its ramdisk stays; a restart ends it before."""

    __tablename__ = "rescue"

    server_id: Mapped[int] = mapped_column(
        ForeignKey("server.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    task_id: Mapped[int] = mapped_column(Id)
    begun_at: Mapped[datetime]
    until: Mapped[datetime]
