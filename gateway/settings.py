"""The settings: a YAML file, the environment over it, defaults below.

`docs/settings.md` lists every one of them; a test holds that page to this file. Environment names carry the prefix
``GATEWAY_`` and are nested by two underscores: ``GATEWAY_TIMEOUTS__FIRST_TOKEN_SECONDS=60``.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from backends.deployment import Deployment

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class SettingsInvalid(Exception):
    """The settings cannot be used; the message names each wrong one."""


class Limits(BaseModel):
    """Bounds on what one client may send and have open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    header_bytes: Count = 32_768
    """Request line and headers together."""
    body_bytes: Count = 32 * 1024 * 1024
    """A request's body; pictures inside messages count."""
    answer_bytes: Count = 64 * 1024 * 1024
    """A whole answer of an engine, and one event of a stream."""
    connections: Count = 8_192
    """Open client connections of one worker; above it a new request is answered with 503."""


class Timeouts(BaseModel):
    """How long is waited for what, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_seconds: Seconds = 30
    """For a client to send a whole request, from its first byte."""
    connect_seconds: Seconds = 5
    """For a connection to an engine."""
    first_token_seconds: Seconds = 300
    """For an engine to begin a stream. Dify's own read timeout is 300 s, and pings renew it."""
    idle_seconds: Seconds = 120
    """Between two reads of a stream that has begun."""
    answer_seconds: Seconds = 600
    """For a whole answer (``stream: false``)."""
    ping_seconds: Seconds = 15
    """Silence after which a stream gets a ``: ping`` comment."""
    client_write_seconds: Seconds = 60
    """For a client that does not read what it asked for; then it is cut off."""
    keep_alive_seconds: Seconds = 75
    """For an idle client connection."""
    drain_seconds: Seconds = 30
    """For running turns when the gateway stops."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    config: Path | None = None
    """The YAML file (environment only)."""
    data_dir: Path = Path("data")
    """State, logs and sockets; made with mode 0700."""
    host: str = "0.0.0.0"  # noqa: S104 - Dify is on another machine; every request needs a key
    port: Port = 8000
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8900
    workers: Count | Literal["auto"] = 1
    """Data-plane processes on the one port; ``auto`` = one a core."""
    redis_url: str | None = None
    """``redis://…`` or ``unix://…``; none: an embedded Valkey in the data directory."""
    database_url: str | None = None
    """``postgresql://…`` or ``sqlite:///…``; none: SQLite in the data directory."""
    admin_key: SecretStr | None = None
    """The first admin key; none: one is made and printed once."""
    client_key: SecretStr | None = None
    """The first client key; none: one is made and printed once."""
    metrics_public: bool = True
    """Whether ``/metrics`` is also answered on the client port."""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    deployments: tuple[Deployment, ...] | None = None
    """The models; none: the embedded ones."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, YAML file."""
        del dotenv_settings, file_secret_settings
        path = os.environ.get("GATEWAY_CONFIG")
        if path is None:
            return init_settings, env_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=path)

    @property
    def worker_count(self) -> int:
        """Number of data-plane processes."""
        return (os.cpu_count() or 1) if self.workers == "auto" else self.workers


def load() -> Settings:
    """Read the settings. Raises `SettingsInvalid`, which names each field that is wrong."""
    path = os.environ.get("GATEWAY_CONFIG")
    if path is not None and not Path(path).is_file():
        raise SettingsInvalid(f"GATEWAY_CONFIG: there is no file {path}")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsInvalid("\n".join(_complaints(error))) from None
    except Exception as error:  # noqa: BLE001 - the YAML reader and the environment reader each have a tree of their own
        raise SettingsInvalid(f"{path or 'environment'}: {error}") from None


def _complaints(error: ValidationError) -> list[str]:
    return [f"{_dotted(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]


def _dotted(location: tuple[int | str, ...]) -> str:
    """Return ``deployments[0].port`` for ``("deployments", 0, "port")``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")
