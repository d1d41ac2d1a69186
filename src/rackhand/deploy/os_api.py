"""Routes of images, templates, installing and rescue."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import first_boot, task_secrets
from rackhand.db import Database
from rackhand.deploy import credentials, images, templates
from rackhand.deploy.cloud_init import fill_macros
from rackhand.deploy.install_os import INSTALL_OS, ImageFacts, InstallOs, Order, known_disks
from rackhand.deploy.layout import DEFAULT_PARTITIONS, Impossible, check_partitions
from rackhand.deploy.os_model import ImageFormat, OsImage, OsTemplate, TemplateKind
from rackhand.deploy.os_schemas import (
    EditImage,
    EditTemplate,
    ImageBody,
    OsBody,
    RecoveryBody,
    TemplateBody,
    image_row,
    template_row,
    vm_os_row,
)
from rackhand.deploy.rescue import START_RESCUE, STOP_RESCUE, StartRescue, rescue_of
from rackhand.deploy.service import refuse_unbootable
from rackhand.errors import Conflict, Forbidden, Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import Body, IdAnswer, ListAnswer, ObjectId, TaskAck, json_response, list_response
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.servers.service import refuse_busy, refuse_protected
from rackhand.settings import Settings
from rackhand.tasks.api import CurrentEngine
from rackhand.users import auth
from rackhand.users.auth import Admin, CurrentActor, CurrentUser
from rackhand.users.model import User
from rackhand.vault import Vault

router = APIRouter(prefix="/dci/v3", tags=["systems"], route_class=TransactionRoute)
vm_router = APIRouter(prefix="/vm/v3", tags=["systems"], route_class=TransactionRoute)
# Files are received outside of any transaction.
upload_router = APIRouter(prefix="/dci/v3/upload", tags=["systems"])
UPLOADS = "/dci/v3/upload/"

Params = Annotated[ListParams, Depends(list_params)]


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.services.settings
    return settings


async def _vault(request: Request) -> Vault:
    vault: Vault = request.app.state.services.vault
    return vault


CurrentSettings = Annotated[Settings, Depends(_settings)]
CurrentVault = Annotated[Vault, Depends(_vault)]


# --- templates


@router.get("/os_template", response_model=ListAnswer)
async def list_templates(session: Session, viewer: CurrentUser, params: Params) -> Response:
    """List templates; a user sees those that it may use."""
    page = await templates.page(session, params, visible_to=viewer)
    rows = [template_row(row, for_admin=viewer.is_admin) for row in page.rows]
    return list_response(rows, page.size, await last_notify(session))


@vm_router.get("/os", response_model=ListAnswer)
async def list_systems(session: Session, viewer: CurrentUser, params: Params) -> Response:
    """List what can be installed, in the shape of the sister product."""
    page = await templates.page(session, params, visible_to=viewer)
    rows = [vm_os_row(row) for row in page.rows if row.kind == TemplateKind.OS]
    return list_response(rows, page.size, await last_notify(session))


@router.get("/os_template/{id}", response_model=dict[str, Any])
async def get_template(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show a template."""
    template = await templates.by_id(session, id, visible_to=viewer)
    return json_response(template_row(template, for_admin=viewer.is_admin))


@router.post("/os_template")
async def add_template(session: Session, _admin: Admin, actor: CurrentActor, body: TemplateBody) -> IdAnswer:
    """Add a template."""
    return IdAnswer(id=(await templates.add_template(session, body.values(), actor=actor)).id)


@router.post("/os_template/{id}")
async def edit_template(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: EditTemplate
) -> IdAnswer:
    """Change a template; installations that run go on as they began."""
    template = await templates.by_id(session, id, visible_to=admin)
    await templates.edit_template(session, template, body.values(), actor=actor)
    return IdAnswer(id=id)


@router.delete("/os_template/{id}")
async def delete_template(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, _body: Body | None = None
) -> IdAnswer:
    """Delete a template; its image stays."""
    template = await templates.by_id(session, id, visible_to=admin)
    await templates.delete_template(session, template, actor=actor)
    return IdAnswer(id=id)


# --- images


@router.get("/os_image", response_model=ListAnswer)
async def list_images(session: Session, _admin: Admin, params: Params) -> Response:
    """List images."""
    page = await templates.image_page(session, params)
    return list_response([image_row(row) for row in page.rows], page.size, await last_notify(session))


@router.get("/os_image/{id}", response_model=dict[str, Any])
async def get_image(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show an image; `received` says how far an upload is."""
    return json_response(image_row(await images.by_id(session, id)))


@router.post("/os_image")
async def add_image(
    session: Session, _admin: Admin, actor: CurrentActor, settings: CurrentSettings, body: ImageBody
) -> IdAnswer:
    """Announce an image: `tar.zst` (the files of a system), `raw`, `raw.zst` or `qcow2` (a whole disk)."""
    image = await images.add_image(
        session,
        settings,
        name=body.name,
        source_format=body.format.strip().lower(),
        sha256=body.sha256.lower(),
        minisig=body.minisig,
        notes=body.notes,
        actor=actor,
    )
    return IdAnswer(id=image.id)


@router.post("/os_image/{id}")
async def edit_image(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: EditImage
) -> IdAnswer:
    """Change name or notes of an image."""
    values = body.model_dump(exclude_none=True, include=body.model_fields_set)
    await images.edit_image(session, await images.by_id(session, id), values, actor=actor)
    return IdAnswer(id=id)


@router.delete("/os_image/{id}")
async def delete_image(
    id: ObjectId,
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    settings: CurrentSettings,
    _body: Body | None = None,
) -> IdAnswer:
    """Delete an image with its file, unless a template uses it or it is being installed."""
    await images.delete_image(session, settings, await images.by_id(session, id), actor=actor)
    return IdAnswer(id=id)


@upload_router.post("/os_image/{id}", response_model=dict[str, Any])
async def upload_image(
    id: ObjectId,
    request: Request,
    offset: Annotated[
        int, Query(ge=0, description="Where the sent bytes begin: what `received` of the image says")
    ] = 0,
) -> Response:
    """Receive the file of an image as it is, not as JSON; the answer comes when it is checked and converted."""
    db: Database = request.app.state.services.db
    settings: Settings = request.app.state.services.settings
    async with db.write() as session:
        user = await auth.authenticate(request, session)
        if not user.is_admin:
            raise Forbidden("Your role does not allow this function.")
        actor = await auth.actor(request, user)
        await images.by_id(session, id)
    checked = await images.receive(db, settings, id, request.stream(), offset=offset, actor=actor)
    return json_response(
        {"id": id, "format": checked.format, "size": checked.size_bytes, "sha256": checked.sha256}
    )


# --- installing


@router.post("/server/{id}/operation_os")
async def operation_os(
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    vault: CurrentVault,
    body: OsBody,
) -> TaskAck:
    """Install an operating system. What the disks hold is lost; what cannot work is refused before anything happens."""
    server = await queries.by_id(session, id, visible_to=user)
    refuse_protected(server, "installation")
    template, image = await _installable(session, body.os_template_id, user)
    await _refuse_unfit(session, server, template)
    params = _install_params(server, template, image, body)
    password, keys = body.password.get_secret_value(), credentials.parse_keys(body.ssh_pub_keys)
    credentials.check_password(password, has_keys=bool(keys))
    order = {
        "password_hash": await credentials.hash_for_system(password),
        "ssh_keys": keys,
        "scripts": [fill_macros(template.script, _macros(template, server, params)), body.post_install],
        "user_data": body.user_data,
    }
    task = await engine.enqueue(session, INSTALL_OS, server, actor=actor, params=params)
    kept = Order(**order, nonce=await first_boot.expect(session, task.id))
    await task_secrets.keep(session, vault, task.id, kept.model_dump())
    return TaskAck(id=server.id, task=task.id)


async def _installable(session: AsyncSession, template_id: int, user: User) -> tuple[OsTemplate, OsImage]:
    template = await templates.by_id(session, template_id, visible_to=user)
    if template.kind != TemplateKind.OS:
        raise NotFound(f"Template {template_id} is not one of an operating system.")
    state = templates.state_of(template)
    if template.image is None or state != "active":
        raise Conflict(f"Template {template_id} ({template.name}) cannot be installed now: {state}.")
    return template, template.image


async def _refuse_unfit(session: AsyncSession, server: Server, template: OsTemplate) -> None:
    """Refuse a server that cannot be installed at all, or not with this template."""
    await refuse_busy(session, server)
    refuse_unbootable(server)
    if server.is_suspended:
        raise Conflict(
            f"Server {server.id} is suspended, so its system could not say that it runs. Resume it first."
        )
    if not templates.boots(template, efi=server.efi):
        has, needs = ("UEFI", "BIOS") if server.efi else ("BIOS", "UEFI")
        raise Conflict(f"Server {server.id} boots by {has}, and {template.name} needs {needs}.")


def _install_params(server: Server, template: OsTemplate, image: OsImage, body: OsBody) -> InstallOs:
    """What is to be done, checked against the disks that are known."""
    levels = templates.levels_of(template)
    if body.hdd_raid not in levels:
        raise Invalid(f"hdd_raid: {template.name} takes {', '.join(levels)}, not {body.hdd_raid}.")
    if image.format == ImageFormat.RAW_ZST and (body.partitions or body.lvm):
        raise Invalid(
            f"partitions and lvm: {template.name} is the image of a whole disk, which is not divided."
        )
    wishes = [part.wish() for part in body.partitions] or list(templates.partitions_of(template))
    modes = {"any": ["bios", "uefi"]}.get(template.boot_mode, [template.boot_mode])
    params = InstallOs(
        template_id=template.id,
        template_name=template.name,
        image_id=image.id,
        image=ImageFacts.of(image),
        host_name=body.domain or server.domain or f"server-{server.id}",
        level=body.hdd_raid,
        partitions=wishes or list(DEFAULT_PARTITIONS),
        lvm=body.lvm,
        min_disk_gb=template.min_disk_gb,
        boot_modes=modes,
    )
    try:
        check_partitions(wishes)
    except Impossible as error:
        raise Invalid(f"{error}.") from error
    if server.disks:
        try:
            params.plan(known_disks(server))
        except Impossible as error:
            raise Conflict(f"The disks of server {server.id} do not do: {error}.") from error
    return params


def _macros(template: OsTemplate, server: Server, params: InstallOs) -> Mapping[str, str]:
    """The names that a template's script may use: its own, and what is known of the server."""
    own = {name: str(value) for name, value in template.macros.items()}
    return {"HOSTNAME": params.host_name, "SERVER_ID": str(server.id), "OS_NAME": template.name, **own}


# --- rescue


@router.post("/server/{id}/operation_recovery", response_model=dict[str, Any])
async def operation_recovery(
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    vault: CurrentVault,
    settings: CurrentSettings,
    body: RecoveryBody | None = None,
) -> Response:
    """Start a server into rescue, or `stop` it: back to its disk. A made-up password is in this answer alone."""
    asked = body or RecoveryBody()
    server = await queries.by_id(session, id, visible_to=user)
    refuse_protected(server, "rescue")
    if asked.action == "stop":
        if server.id not in await rescue_of(session, [server.id]):
            raise Conflict(f"Server {id} is not in rescue.")
        task = await engine.enqueue(session, STOP_RESCUE, server, actor=actor)
        return json_response({"id": server.id, "task": task.id})
    if asked.os_template_id:
        template = await templates.by_id(session, asked.os_template_id, visible_to=user)
        if template.kind != TemplateKind.RESCUE or not template.is_enabled:
            raise NotFound(f"Template {template.id} is not one of rescue.")
    await refuse_busy(session, server)
    refuse_unbootable(server)
    if server.is_suspended:
        raise Conflict(f"Server {id} is suspended, so nobody could reach it. Resume it first.")
    if asked.hours is not None and asked.hours > settings.rescue_hours:
        raise Invalid(f"hours: at most {settings.rescue_hours:g}.")
    keys = credentials.parse_keys(asked.ssh_pub_keys)
    password = asked.password.get_secret_value()
    made_up = "" if password or keys else credentials.one_time_password()
    credentials.check_password(password or made_up, has_keys=bool(keys))
    hashed = await credentials.hash_for_system(password or made_up)
    params = StartRescue(hours=asked.hours or settings.rescue_hours)
    task = await engine.enqueue(session, START_RESCUE, server, actor=actor, params=params)
    await task_secrets.keep(session, vault, task.id, {"password_hash": hashed, "ssh_keys": keys})
    answer: dict[str, object] = {"id": server.id, "task": task.id}
    return json_response({**answer, "password": made_up} if made_up else answer)
