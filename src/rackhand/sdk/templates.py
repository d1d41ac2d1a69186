"""Templates of operating systems."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict, Unpack

from rackhand.sdk.calls import Call, Done, Listing, deleting, getting, listing, path_of, posting

PATH = "dci/v3/os_template"


@dataclass(frozen=True)
class Template:
    """A template; it can be installed when `state` is active."""

    id: int
    name: str
    kind: str = ""
    state: str = ""
    os_group: str = ""
    tags: tuple[str, ...] = ()
    access: str = ""
    boot_mode: str = ""
    min_disk_gb: int = 0
    raid_levels: tuple[str, ...] = ()
    notes: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class TemplateValues(TypedDict, total=False):
    """What a template may be given besides its name."""

    os_group: str
    image_id: int
    boot_mode: Literal["any", "bios", "uefi"]
    min_disk_gb: int
    access: Literal["everyone", "admins"]
    is_enabled: bool
    tags: list[str]
    macros: Mapping[str, str]
    raid_levels: list[str]
    script: str
    notes: str


class TemplateChanges(TemplateValues, total=False):
    """What to change of a template."""

    name: str


def find(
    *, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0
) -> Listing[Template]:
    """List templates; a user sees those that it may use."""
    return listing(PATH, Template, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Template]:
    """Show a template."""
    return getting(path_of(PATH, id), Template)


def create(name: str, **values: Unpack[TemplateValues]) -> Call[Done]:
    """Add a template."""
    return posting(PATH, Done, {"name": name, **values})


def edit(id: int, **changes: Unpack[TemplateChanges]) -> Call[Done]:
    """Change a template; installations that run go on as they began."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete a template; its image stays."""
    return deleting(path_of(PATH, id), Done)
