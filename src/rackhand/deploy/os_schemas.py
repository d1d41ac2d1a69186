"""Images, templates, installations and rescue on the wire; the only place for their odd spellings (api-facts 5.4)."""

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from rackhand.deploy import templates
from rackhand.deploy.cloud_init import HOST_NAME
from rackhand.deploy.layout import GB, FileSystem, PartitionWish, RaidLevel
from rackhand.deploy.os_model import (
    OsImage,
    OsTemplate,
    TemplateAccess,
    TemplateBoot,
    TemplateKind,
)
from rackhand.http import words
from rackhand.http.wire import Body, BodyId, wire_time

MAX_SCRIPT = 64 * 1024
MACRO_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Script = Annotated[str, StringConstraints(max_length=MAX_SCRIPT)]
Sha256 = Annotated[str, StringConstraints(to_lower=True, pattern=r"^([0-9a-fA-F]{64})?$")]


def _word(table: dict[str, str], expected: str) -> Any:
    def read(given: object) -> object:
        text = str(given).strip().lower() if isinstance(given, str | int) else None
        known = None if text is None else table.get(text)
        if known is None:
            raise ValueError(f"expected {expected}, got {str(given)[:40]!r}")
        return known

    return BeforeValidator(read)


Raid = Annotated[RaidLevel, _word(words.HDD_RAID, "none, raid0, raid1, raid5, raid6 or raid10")]
Access = Annotated[TemplateAccess, _word(words.TEMPLATE_ACCESS, "everyone or admins")]
Boot = Annotated[TemplateBoot, _word(words.TEMPLATE_BOOT, "any, bios or uefi")]


def _host_name(text: str) -> str:
    name = text.strip().rstrip(".").lower()
    if name and (len(name) > 253 or not HOST_NAME.fullmatch(name)):  # noqa: PLR2004  # RFC 1035, 2.3.4
        raise ValueError(f"expected a host name such as web.example.com, got {text[:60]!r}")
    return name


HostName = Annotated[str, AfterValidator(_host_name)]


class PartitionBody(Body):
    """A partition: where it is mounted (or `swap`), its file system, and its size, else what is left."""

    mount: Annotated[str, StringConstraints(max_length=200)] = Field(examples=["/"])
    fs: FileSystem | None = None
    size_mib: int | None = Field(None, ge=16, le=1 << 30)
    size_gib: float | None = Field(None, gt=0, le=1 << 20)

    def wish(self) -> PartitionWish:
        """As a value."""
        size = self.size_mib if self.size_gib is None else round(self.size_gib * 1024)
        fs = self.fs or (FileSystem.SWAP if self.mount == "swap" else FileSystem.EXT4)
        return PartitionWish(mount=self.mount, fs=fs, size_mib=size)


def _partitions(bodies: list[PartitionBody]) -> list[PartitionBody]:
    for body in bodies:
        body.wish()  # says what is wrong with it
    return bodies


Partitions = Annotated[list[PartitionBody], Field(max_length=16), AfterValidator(_partitions)]


class OsBody(Body):
    """An installation: `password` or `ssh_pub_keys` for root, and what else the system is told."""

    hdd_raid: Raid = Field(RaidLevel.NONE, examples=["raid1"])
    os_template_id: BodyId = Field(0, examples=[1])
    password: SecretStr = Field(SecretStr(""), max_length=1024, examples=["3vergreen-Tunnel"])
    ssh_pub_keys: list[Annotated[str, StringConstraints(max_length=16384)]] = Field(
        default_factory=list,
        max_length=50,
        validation_alias=AliasChoices("ssh_pub_keys", "ssh_keys"),
        examples=[["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ… laptop"]],
    )
    domain: HostName = Field("", validation_alias=AliasChoices("domain", "hostname", "host_name"))
    partitions: Partitions = Field(default_factory=list)
    lvm: bool = False
    user_data: Script = Field("", repr=False)
    post_install: Script = Field(
        "", repr=False, validation_alias=AliasChoices("post_install", "script", "recipe")
    )


class RecoveryBody(Body):
    """`start` or `stop` rescue; without a password and keys a one-time password is made up and shown once."""

    action: Annotated[str, StringConstraints(pattern="^(start|stop)$")] = Field(
        "start", validation_alias=AliasChoices("action", "command"), examples=["start"]
    )
    os_template_id: BodyId = Field(0, examples=[0])
    password: SecretStr = Field(SecretStr(""), max_length=1024)
    ssh_pub_keys: list[Annotated[str, StringConstraints(max_length=16384)]] = Field(
        default_factory=list, max_length=50, validation_alias=AliasChoices("ssh_pub_keys", "ssh_keys")
    )
    hours: float | None = Field(None, gt=0)


class ImageBody(Body):
    """An image whose file comes afterwards: POST upload/os_image/{id}."""

    name: Name = Field(examples=["debian-12"])
    format: Annotated[str, StringConstraints(max_length=20)] = Field("tar.zst", examples=["tar.zst"])
    sha256: Sha256 = ""
    minisig: Text = ""
    notes: Text = ""


class EditImage(Body):
    """What to change of an image; its file stays as it is."""

    name: Name | None = None
    notes: Text | None = None


class EditTemplate(Body):
    """What to change of a template; absent keys stay as they are."""

    name: Name | None = None
    kind: TemplateKind | None = None
    os_group: Text | None = Field(None, examples=["debian"])
    image_id: BodyId | None = Field(None, validation_alias=AliasChoices("image_id", "image"), examples=[1])
    installer: Annotated[str, StringConstraints(pattern="^image$")] | None = None
    boot_mode: Boot | None = None
    min_disk_gb: int | None = Field(None, ge=0, le=1_000_000)
    access: Access | None = Field(None, examples=["everyone"])
    is_enabled: bool | None = None
    tags: list[Annotated[str, StringConstraints(max_length=60)]] | None = Field(None, max_length=50)
    macros: dict[str, Annotated[str, StringConstraints(max_length=4000)]] | None = Field(None, max_length=100)
    raid_levels: list[Raid] | None = Field(None, max_length=6)
    partitions: Partitions | None = None
    script: Script | None = Field(None, validation_alias=AliasChoices("script", "post_install"))
    notes: Text | None = None

    @model_validator(mode="after")
    def check_macros(self) -> Self:
        """Refuse names that `($NAME)` cannot spell."""
        for name in self.macros or ():
            if not MACRO_NAME.fullmatch(name):
                raise ValueError(f"macros: expected names such as LICENCE_SERVER, got {name[:60]!r}")
        return self

    def values(self) -> dict[str, Any]:
        """The given values by column."""
        given = {
            name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None
        }
        if "image_id" in self.model_fields_set:
            given["image_id"] = self.image_id or None
        if self.partitions is not None:
            given["partitions"] = [body.wish().model_dump(mode="json") for body in self.partitions]
        return given


class TemplateBody(EditTemplate):
    """A new template."""

    name: Name = Field(examples=["Debian 12"])


def image_row(image: OsImage) -> dict[str, object]:
    """An image; `received` counts what has come of an upload that goes on."""
    row: dict[str, object] = {
        "id": image.id,
        "name": image.name,
        "state": image.state,
        "source_format": image.source_format,
        "format": image.format or None,
        "system": image.system,
        "received": image.received_bytes,
        "size": image.size_bytes,
        "unpacked_size": image.unpacked_bytes,
        "sha256": image.sha256 or None,
        "signed_by": image.signed_by or None,
        "notes": image.notes,
        "created_at": wire_time(image.created_at),
        "ready_at": wire_time(image.ready_at),
    }
    if image.problem:
        row["problem"] = image.problem
    return row


def template_row(template: OsTemplate, *, for_admin: bool) -> dict[str, object]:
    """A template; the keys `efi`, `state`, `metainfo` are those that clients of the platform expect (api-facts 8)."""
    image = template.image
    row: dict[str, object] = {
        "id": template.id,
        "name": template.name,
        "kind": template.kind,
        "os_group": template.os_group,
        "tags": template.tags,
        "access": template.access,
        "adminonly": template.access == TemplateAccess.ADMINS,
        "boot_mode": template.boot_mode,
        "efi": template.boot_mode != TemplateBoot.BIOS,
        "state": templates.state_of(template),
        "installer": template.installer,
        "min_disk_gb": template.min_disk_gb,
        "raid_levels": list(templates.levels_of(template)) if template.kind == TemplateKind.OS else [],
        "partitions": template.partitions,
        "metainfo": {
            "system": image.system if image else "",
            "format": image.format if image else "",
            "image_size": image.size_bytes if image else 0,
            "needs_gb": -(-image.unpacked_bytes // GB) if image else 0,
        },
        "notes": template.notes,
        "created_at": wire_time(template.created_at),
        "updated_at": wire_time(template.updated_at),
    }
    if for_admin:
        row["is_enabled"] = template.is_enabled
        row["image"] = None if image is None else {"id": image.id, "name": image.name, "state": image.state}
        row["macros"] = template.macros
        row["script"] = template.script
    return row


def vm_os_row(template: OsTemplate) -> dict[str, object]:
    """A template as the sister product lists systems."""
    return {
        "id": template.id,
        "name": template.name,
        "adminonly": template.access == TemplateAccess.ADMINS,
        "os_group": template.os_group,
        "tags": template.tags,
        "repository": "local",
        "state": templates.state_of(template),
        "updated_at": wire_time(template.updated_at),
        "comment": template.notes,
        "min_ram_mib": 0,
    }
