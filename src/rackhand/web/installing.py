"""Operating systems: installing one in three steps, rescue, and the templates and images that there are."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from rackhand.deploy import images, os_api, os_schemas, templates
from rackhand.deploy.layout import RaidLevel
from rackhand.deploy.os_model import OsTemplate, TemplateAccess, TemplateBoot, TemplateKind
from rackhand.http.lists import ListParams
from rackhand.servers import queries
from rackhand.users import queries as users
from rackhand.users.model import SshKey
from rackhand.web.listing import Filter, Listing
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, change, show
from rackhand.web.texts import gettext, marked
from rackhand.web.words import badge_text

RAID = {
    RaidLevel.NONE: marked("none: the system goes onto one disk"),
    RaidLevel.RAID1: marked("RAID 1: every disk holds everything"),
    RaidLevel.RAID10: marked("RAID 10: mirrored and striped, from 4 disks"),
    RaidLevel.RAID5: marked("RAID 5: one disk may fail, from 3 disks"),
    RaidLevel.RAID6: marked("RAID 6: two disks may fail, from 4 disks"),
    RaidLevel.RAID0: marked("RAID 0: fast, and lost with any disk"),
}
BOOT = {
    TemplateBoot.ANY: marked("BIOS and UEFI"),
    TemplateBoot.UEFI: marked("UEFI"),
    TemplateBoot.BIOS: marked("BIOS"),
}
FORMATS = (
    ("tar.zst", marked("tar.zst: the files of a system")),
    ("qcow2", marked("qcow2: a whole disk")),
    ("raw.zst", marked("raw.zst: a whole disk")),
    ("raw", marked("raw: a whole disk")),
)


async def show_install(page: Page, id: int, *, password: str = "") -> Response:
    """What to install, onto which disks, who gets in. *password* is that of a rescue, shown this once."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    related = await queries.related(page.session, [id], page.user, page.services.server_parts)
    found = await templates.page(page.session, ListParams("kind EQ 'os'", "name"), visible_to=page.user)
    usable = [each for each in found.rows if templates.state_of(each) == "active"]
    rescue = next((values.get(id, {}).get("recovery") for _, values in related.parts if id in values
                   and "recovery" in values[id]), None)  # fmt: skip
    return page.render(
        "servers/install.html",
        row=row,
        disks=related.disks.get(id, []),
        systems=[(each, templates.boots(each, efi=row.efi)) for each in usable],
        form=page.form({"hdd_raid": RaidLevel.NONE, "domain": row.domain}, name="install"),
        raid=[(level.value, gettext(text)) for level, text in RAID.items()],
        keys=await _keys(page, row.owner_id),
        chosen_keys=page.typed.get("keys", "").split(","),
        rescue=rescue,
        password=password,
    )


async def _keys(page: Page, owner_id: int | None) -> Sequence[SshKey]:
    """The keys of the viewer, and those of the server's owner."""
    found = list(await users.ssh_keys_of(page.session, page.user))
    if owner_id is not None and owner_id != page.user.id:
        owner = await users.by_id(page.session, owner_id, visible_to=page.user)
        found += await users.ssh_keys_of(page.session, owner)
    return found


async def _chosen_keys(page: Page, id: int) -> list[str]:
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    wanted = set(page.typed.get("keys", "").split(","))
    chosen = [key.public_key for key in await _keys(page, row.owner_id) if str(key.id) in wanted]
    return chosen + [line.strip() for line in page.typed.get("more_keys", "").splitlines() if line.strip()]


async def install(page: Page, id: int) -> Response:
    """Start the installation; the task's page follows every step of it."""
    body = os_schemas.OsBody.model_validate(
        {
            "os_template_id": page.number("os_template_id") or 0,
            "hdd_raid": page.typed.get("hdd_raid", ""),
            "domain": page.typed.get("domain", ""),
            "password": page.typed.get("password", ""),
            "ssh_pub_keys": await _chosen_keys(page, id),
            "lvm": page.is_ticked("lvm"),
            "post_install": page.typed.get("post_install", "").replace("\r\n", "\n"),
        }
    )
    answer = await os_api.operation_os(
        id=id,
        session=page.session,
        user=page.user,
        actor=page.actor,
        engine=page.services.engine,
        vault=page.services.vault,
        body=body,
    )
    return page.go(f"/tasks/{answer.task}", "started")


async def rescue(page: Page, id: int) -> Response:
    """Start the server into rescue, or back to its disk."""
    is_start = page.typed.get("action") != "stop"
    given: dict[str, Any] = {"action": "start" if is_start else "stop"}
    if is_start:
        given["ssh_pub_keys"] = await _chosen_keys(page, id)
    answer = await os_api.operation_recovery(
        id=id,
        session=page.session,
        user=page.user,
        actor=page.actor,
        engine=page.services.engine,
        vault=page.services.vault,
        settings=page.services.settings,
        body=os_schemas.RecoveryBody.model_validate(given),
    )
    found: dict[str, Any] = json.loads(bytes(answer.body))
    if password := found.get("password"):
        return await show_install(page, id, password=password)
    return page.go(f"/tasks/{found['task']}", "started")


# --- templates and images


async def show_systems(page: Page) -> Response:
    """Templates and the images that they install."""
    filters = [
        Filter("kind", gettext("Kind"), [(kind.value, badge_text(kind, "template")) for kind in TemplateKind],
               "kind EQ {}"),
    ]  # fmt: skip
    listing = Listing(page, ("name", "os_group"), ("name", "kind", "updated_at"), filters, order="name")
    found = await templates.page(page.session, listing.params, visible_to=page.user)
    stored = await templates.image_page(page.session, ListParams(orderby="name", limit="200"))
    return page.render(
        "systems/list.html",
        listing=listing,
        rows=[(row, templates.state_of(row)) for row in found.rows],
        size=found.size,
        images=stored.rows,
        formats=[(name, gettext(text)) for name, text in FORMATS],
        boot=BOOT,
    )


async def add_image(page: Page) -> Response:
    """Announce an image; its file is sent by the command line, for it is large."""
    given = {
        name: page.typed.get(name, "").strip() for name in ("name", "format", "sha256", "minisig", "notes")
    }
    answer = await os_api.add_image(
        session=page.session,
        _admin=page.user,
        actor=page.actor,
        settings=page.services.settings,
        body=os_schemas.ImageBody.model_validate(given),
    )
    return page.go(f"/systems#image-{answer.id}", "added")


async def delete_image(page: Page, id: int) -> Response:
    """Delete an image that no template uses."""
    await os_api.delete_image(
        id=id, session=page.session, _admin=page.user, actor=page.actor, settings=page.services.settings
    )
    return page.go("/systems", "deleted")


async def _systems_again(page: Page, id: int) -> Response:  # noqa: ARG001  # the path has a number
    return await show_systems(page)


async def _template_form(page: Page, title: str, initial: dict[str, Any], row: OsTemplate | None) -> Response:
    stored = await templates.image_page(page.session, ListParams(orderby="name", limit="500"))
    return page.render(
        "systems/form.html",
        title=title,
        row=row,
        form=page.form(initial),
        images=[(each.id, each.name) for each in stored.rows],
        kinds=[(kind.value, badge_text(kind, "template")) for kind in TemplateKind],
        boot=[(mode.value, gettext(text)) for mode, text in BOOT.items()],
        access=[
            (TemplateAccess.EVERYONE.value, gettext("everybody")),
            (TemplateAccess.ADMINS.value, gettext("administrators")),
        ],
    )


async def show_new_template(page: Page) -> Response:
    """The form of a new template."""
    initial = {"kind": "os", "access": "everyone", "boot_mode": "any", "is_enabled": True,
               "image_id": page.query.get("image")}  # fmt: skip
    return await _template_form(page, gettext("Add a template"), initial, None)


def _template_values(page: Page) -> dict[str, Any]:
    names = ("name", "kind", "os_group", "boot_mode", "access", "script", "notes")
    values: dict[str, Any] = {name: page.typed.get(name, "").replace("\r\n", "\n") for name in names}
    return values | {
        "image_id": page.number("image_id") or 0,
        "min_disk_gb": page.number("min_disk_gb") or 0,
        "is_enabled": page.is_ticked("is_enabled"),
        "tags": page.typed.get("tags", "").replace(",", " ").split(),
    }


async def add_template(page: Page) -> Response:
    """Add a template."""
    body = os_schemas.TemplateBody.model_validate(_template_values(page))
    await os_api.add_template(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go("/systems", "added")


async def show_template(page: Page, id: int) -> Response:
    """The form of a template."""
    row = await templates.by_id(page.session, id, visible_to=page.user)
    names = ("name", "kind", "os_group", "boot_mode", "access", "script", "notes", "image_id", "min_disk_gb",
             "is_enabled")  # fmt: skip
    initial = {**{name: getattr(row, name) for name in names}, "tags": " ".join(row.tags)}
    return await _template_form(page, row.name, initial, row)


async def edit_template(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the template."""
    common: dict[str, Any] = {"id": id, "session": page.session, "admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await os_api.delete_template(**common)
        return page.go("/systems", "deleted")
    body = os_schemas.EditTemplate.model_validate(_template_values(page))
    await os_api.edit_template(**common, body=body)
    return page.go("/systems", "saved")


async def show_image(page: Page, id: int) -> Response:
    """One image: how its file is sent, and what came of it."""
    return page.render("systems/image.html", image=await images.by_id(page.session, id))


ROUTES = (
    show("/servers/{id:int}/install", show_install, SIGNED_IN),
    change("/servers/{id:int}/install", install, show_install, SIGNED_IN),
    change("/servers/{id:int}/rescue", rescue, show_install, SIGNED_IN),
    show("/systems", show_systems),
    change("/systems/images", add_image, show_systems),
    show("/systems/images/{id:int}", show_image),
    change("/systems/images/{id:int}/delete", delete_image, _systems_again),
    show("/systems/new", show_new_template),
    change("/systems/new", add_template, show_new_template),
    show("/systems/{id:int}", show_template),
    change("/systems/{id:int}", edit_template, show_template),
)
