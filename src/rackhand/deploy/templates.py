"""Templates of operating systems: who may use which, and what makes sense in one."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from rackhand.db import AnySelect, utcnow
from rackhand.deploy.layout import DEFAULT_PARTITIONS, Impossible, PartitionWish, RaidLevel, check_partitions
from rackhand.deploy.os_model import (
    ImageFormat,
    ImageState,
    OsImage,
    OsTemplate,
    TemplateAccess,
    TemplateBoot,
    TemplateKind,
)
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.users.model import User

SUBJECT = "os_template"
ALL_LEVELS = tuple(RaidLevel)

TEMPLATE_FIELDS: Fields = {
    "id": Field(OsTemplate.id, FieldKind.INTEGER),
    "name": Field(OsTemplate.name, FieldKind.TEXT),
    "kind": Field(OsTemplate.kind, FieldKind.TEXT),
    "os_group": Field(OsTemplate.os_group, FieldKind.TEXT),
    "access": Field(OsTemplate.access, FieldKind.TEXT),
    "boot_mode": Field(OsTemplate.boot_mode, FieldKind.TEXT),
    "is_enabled": Field(OsTemplate.is_enabled, FieldKind.BOOLEAN),
    "image_id": Field(OsTemplate.image_id, FieldKind.INTEGER),
    "created_at": Field(OsTemplate.created_at, FieldKind.TIME),
    "updated_at": Field(OsTemplate.updated_at, FieldKind.TIME),
}
IMAGE_FIELDS: Fields = {
    "id": Field(OsImage.id, FieldKind.INTEGER),
    "name": Field(OsImage.name, FieldKind.TEXT),
    "state": Field(OsImage.state, FieldKind.TEXT),
    "format": Field(OsImage.format, FieldKind.TEXT),
    "sha256": Field(OsImage.sha256, FieldKind.TEXT),
    "created_at": Field(OsImage.created_at, FieldKind.TIME),
}


def _visible(query: AnySelect, viewer: User) -> AnySelect:
    if viewer.is_admin:
        return query
    return query.where(OsTemplate.access == TemplateAccess.EVERYONE, OsTemplate.is_enabled)


async def page(session: AsyncSession, params: ListParams, *, visible_to: User) -> Page[OsTemplate]:
    """Templates with their images; a user sees those that it may use."""
    query = _visible(select(OsTemplate), visible_to).options(selectinload(OsTemplate.image))
    return await fetch_page(session, query, params, TEMPLATE_FIELDS, tie_breaker=OsTemplate.id)


async def image_page(session: AsyncSession, params: ListParams) -> Page[OsImage]:
    """Images."""
    return await fetch_page(session, select(OsImage), params, IMAGE_FIELDS, tie_breaker=OsImage.id)


async def by_id(session: AsyncSession, template_id: int, *, visible_to: User) -> OsTemplate:
    """One template with its image; one that the viewer may not use is not found."""
    query = _visible(select(OsTemplate).where(OsTemplate.id == template_id), visible_to)
    found: OsTemplate | None = (
        await session.scalars(query.options(selectinload(OsTemplate.image)))
    ).one_or_none()
    if found is None:
        raise NotFound(f"There is no template {template_id}.")
    return found


def partitions_of(template: OsTemplate) -> tuple[PartitionWish, ...]:
    """How the template divides a disk."""
    wishes = tuple(PartitionWish.model_validate(wish) for wish in template.partitions)
    return wishes or DEFAULT_PARTITIONS


def levels_of(template: OsTemplate) -> tuple[RaidLevel, ...]:
    """The RAID levels that may be asked for; an image of a whole disk takes none."""
    if template.image is not None and template.image.format == ImageFormat.RAW_ZST:
        return (RaidLevel.NONE,)
    return tuple(RaidLevel(level) for level in template.raid_levels) or ALL_LEVELS


def boots(template: OsTemplate, *, efi: bool) -> bool:
    """Whether the system starts with this firmware."""
    return template.boot_mode in {TemplateBoot.ANY, TemplateBoot.UEFI if efi else TemplateBoot.BIOS}


def state_of(template: OsTemplate) -> str:
    """`active`, or what keeps it from being installed: `disabled`, `no_image`, or its image is not `ready`."""
    if not template.is_enabled:
        return "disabled"
    if template.kind != TemplateKind.OS:
        return "active"
    if template.image is None:
        return "no_image"
    return "active" if template.image.state == ImageState.READY else f"image_{template.image.state}"


async def add_template(session: AsyncSession, values: Mapping[str, Any], *, actor: Actor) -> OsTemplate:
    """Add a template; names are unique."""
    now = utcnow()
    template = OsTemplate(created_at=now, updated_at=now, image=None, **values)
    await _check(session, template)
    await _save(session, template)
    _tell(session, template, "created", "was added", actor)
    return template


async def edit_template(
    session: AsyncSession, template: OsTemplate, values: Mapping[str, Any], *, actor: Actor
) -> None:
    """Change what is given in *values*; what is being installed from it goes on as it began."""
    for name, value in values.items():
        setattr(template, name, value)
    template.updated_at = utcnow()
    await _check(session, template)
    await _save(session, template)
    _tell(session, template, "changed", f"was changed: {', '.join(sorted(values))}", actor)


async def delete_template(session: AsyncSession, template: OsTemplate, *, actor: Actor) -> None:
    """Delete a template; its image stays."""
    _tell(session, template, "deleted", "was deleted", actor)
    await session.delete(template)


async def _check(session: AsyncSession, template: OsTemplate) -> None:
    if template.image_id is not None:
        with session.no_autoflush:
            image = await session.get(OsImage, template.image_id)
        if image is None:
            raise NotFound(f"There is no image {template.image_id}.")
        template.image = image
    if template.kind == TemplateKind.RESCUE and template.image_id is not None:
        raise Invalid("image_id: a rescue template starts the built-in ramdisk and takes no image.")
    if template.image is not None and template.image.format == ImageFormat.RAW_ZST:
        levels: Sequence[str] = template.raid_levels or ()
        if set(levels) - {RaidLevel.NONE} or template.partitions:
            raise Invalid(
                "raid_levels and partitions: the image is that of a whole disk, which is not divided."
            )
    try:
        if template.partitions:
            check_partitions(partitions_of(template))
    except Impossible as error:
        raise Invalid(f"{error}.") from error


async def _save(session: AsyncSession, template: OsTemplate) -> None:
    try:
        async with session.begin_nested():
            session.add(template)
            await session.flush()
    except IntegrityError as error:
        raise Conflict("There is a template of this name already.") from error


def _tell(session: AsyncSession, template: OsTemplate, verb: str, words: str, actor: Actor) -> None:
    subject = Subject(SUBJECT, template.id, template.name, None)
    record(session, f"os_template.{verb}", f"Template {template.name} {words}.", subject=subject, actor=actor)
