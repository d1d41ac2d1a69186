"""Settings of every process, from the environment (`RACKHAND_…`) or a TOML file; the environment wins."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Settings(BaseSettings):
    """Everything an installation can decide; `docs/settings.md` is generated from this class."""

    model_config = SettingsConfigDict(env_prefix="RACKHAND_", extra="forbid")

    data: Path = Field(Path("var"), description="Directory of the database file, keys, images and ramdisks.")
    listen: str = Field(
        "127.0.0.1:8680", description="`host:port` of the HTTP API and the console, plain HTTP."
    )
    database_url: str = Field(
        "", description="PostgreSQL URL (`postgresql://user@host/name`); empty: a SQLite file in `data`."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origins, separated by commas, that may call the API from a browser; `*` allows all.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1", description="Addresses, separated by commas, whose `X-Forwarded-For` is believed."
    )
    internal_auth: bool = Field(
        default=False,
        description="Honour the header `internal-auth: on` from this machine. It makes every local process an"
        " administrator.",
    )
    strict_properties: bool = Field(
        default=False,
        description="Refuse unknown keys in request bodies (code 3008) instead of ignoring them.",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Key ring that encrypts secrets at rest; empty: the file `secret.keys` in `data`.",
    )
    location: str = Field(
        "", description="Name of the location whose operations and polls this process runs; empty: all."
    )
    poll_interval: float = Field(
        120.0,
        gt=0,
        description="Seconds between two readings of a BMC's power state; spread over the interval.",
    )
    bmc_patience: float = Field(
        60.0,
        gt=0,
        le=80,
        description="Seconds that a BMC may be silent in a power operation before the outlets are used instead.",
    )
    bmc_start_patience: float = Field(
        240.0, gt=0, le=1800, description="Seconds from mains until a BMC must answer."
    )
    boot_listen: str = Field(
        "127.0.0.1:8682",
        description="`host:port` for machines that boot from the network, plain HTTP, in the provisioning network;"
        " empty: none.",
    )
    boot_url: str = Field(
        "",
        description="How machines reach `boot_listen`, as a URL; empty: under the address that they asked.",
    )
    dhcp_interface: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,15}$",
        description="Interface in the provisioning network on which dnsmasq answers machines that boot; empty: no"
        " DHCP server of ours.",
    )
    dhcp_ranges: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses for machines that boot, separated by commas: `first-last/length@router`, with or"
        " without the router. Subnets that are not on the interface are reached through DHCP relays.",
    )
    dhcp_proxy: bool = Field(
        default=False,
        description="Another DHCP server gives the addresses; ours only says what to boot (proxy DHCP).",
    )
    dhcp_unknown: bool = Field(
        default=False,
        description="Answer machines that are in no inventory, too: they boot their disk, and are listed as discovered"
        " with their serial number.",
    )
    ipxe_files: Path = Field(
        Path("/usr/lib/ipxe"),
        description="Directory of `undionly.kpxe` and `snponly.efi`, for firmware that is not iPXE itself.",
    )
    boot_transfers: int = Field(
        64, ge=1, description="Kernels, ramdisks and images that are sent at once; others wait."
    )
    boot_patience: float = Field(
        600.0,
        gt=0,
        description="Seconds from power on until a server must ask for its boot script; then the next way is tried.",
    )
    agent_patience: float = Field(
        300.0, gt=0, description="Seconds that a booted agent may be silent before it is given up."
    )
    diagnosis_minutes: float = Field(
        60.0,
        gt=0,
        description="Minutes after which a diagnosis is ended by force; a full wipe in it comes on top.",
    )
    wipe_hours: float = Field(
        24.0,
        gt=0,
        description="Hours that the disks of a server may take to be erased; then the wipe has failed.",
    )
    install_hours: float = Field(
        6.0, gt=0, description="Hours after which an installation is ended by force."
    )
    first_boot_url: str = Field(
        "",
        description="How installed servers reach `boot_listen` from their own network, to say that they run; empty:"
        " as in the provisioning network.",
    )
    first_boot_patience: float = Field(
        1200.0,
        gt=0,
        description="Seconds from power on until an installed server must report; then the next way is tried.",
    )
    rescue_hours: float = Field(
        24.0,
        gt=0,
        le=720,
        description="Hours after which a server in rescue restarts from its disk by itself.",
    )
    resolvers: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="DNS servers of installed systems, separated by commas."
    )
    image_keys: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Public keys of minisign, separated by commas; when there is one, every image must be signed.",
    )
    task_retention_days: int = Field(30, ge=1, description="Days that finished tasks are kept.")
    traffic_retention_days: int = Field(
        400, ge=62, description="Days that traffic samples are kept; whole days older than 2 days are packed."
    )
    energy_retention_days: int = Field(
        400, ge=62, description="Days that energy samples are kept; whole days older than 2 days are packed."
    )
    console_minutes: float = Field(
        60.0,
        gt=0,
        description="Minutes after which an open serial console is closed, whatever happens in it.",
    )
    console_idle_minutes: float = Field(
        10.0,
        gt=0,
        description="Minutes without output and input after which a serial console is closed.",
    )
    console_retention_days: int = Field(30, ge=1, description="Days that recordings of consoles are kept.")
    console_recordings_mib: int = Field(
        64, ge=5, description="MiB of recordings that are kept of one server; the oldest go first."
    )
    event_retention_days: int = Field(365, ge=1, description="Days that events are kept.")
    body_limit: int = Field(4 * 1024 * 1024, ge=1024, description="Largest request body in bytes.")
    log_level: str = Field("info", description="`debug`, `info`, `warning` or `error`.")
    log_json: bool = Field(default=False, description="Write log lines as JSON.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is given
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("cors_origins", "resolvers", "image_keys", mode="before")
    @classmethod
    def split_list(cls, value: object) -> object:
        """Read a list that is separated by commas."""
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the product's tables."""
        if not self.database_url:
            return f"sqlite+aiosqlite:///{self.data / 'rackhand.db'}"
        scheme, _, rest = self.database_url.partition("://")
        if scheme in {"postgresql", "postgres"}:
            return f"postgresql+psycopg://{rest}"
        return self.database_url

    @property
    def workflow_database(self) -> str:
        """The synchronous URL of the durable engine's tables: the same PostgreSQL, or a second SQLite file."""
        if self.database.startswith("sqlite"):
            return f"sqlite:///{self.data / 'workflows.db'}"
        return self.database

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "127.0.0.1", int(port)


def load(config: Path | None = None, **overrides: object) -> Settings:
    """Read the settings; *config* is a TOML file, *overrides* come from the command line."""

    class FromFile(Settings):
        model_config = SettingsConfigDict(env_prefix="RACKHAND_", extra="forbid", toml_file=config)

    given = {name: value for name, value in overrides.items() if value is not None}
    return FromFile(**given)  # type: ignore[arg-type]  # checked by pydantic
