"""The settings: a YAML file, the environment over it, defaults below.

`docs/settings.md` lists every one of them; a test holds that page to this file. Environment names carry the prefix
``GATEWAY_`` and are nested by two underscores: ``GATEWAY_TIMEOUTS__FIRST_TOKEN_SECONDS=60``.
"""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from redis.asyncio.connection import parse_url

from backends.deployment import Deployment
from backends.gpus import DeclaredGpu
from backends.process import LOG_BYTES
from gateway.audit.texts import Keep, Masked
from gateway.complaints.rules import Appeals, Complaints
from gateway.keys import SHORTEST_SECRET
from gateway.labels import Labels
from gateway.limits.rules import Bounds
from gateway.people.rules import Strikes
from gateway.settings_file import SettingsInvalid, misnamed, read
from gateway.settings_words import complaints
from gateway.webhooks.rules import MOST_HOOKS, Webhook, twice

__all__ = ["Limits", "Settings", "SettingsInvalid", "Timeouts", "load"]

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
DATABASES = {"sqlite", "sqlite+aiosqlite", "postgresql", "postgresql+asyncpg", "postgres"}
"""Schemes of `database_url`."""


def _wrong(text: str, kind: str = "value") -> PydanticCustomError:
    return PydanticCustomError(kind, "{text}", {"text": text})


def _count_or_auto(value: Any, check: Callable[[Any], Any]) -> Any:
    """Say what is expected once, instead of once for each of the two forms."""
    try:
        return check(value)
    except ValidationError:
        raise _wrong("must be a whole number of at least 1, or `auto`") from None


class Limits(BaseModel):
    """Bounds on what one client may send and have open, and what a key or a person may use up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    header_bytes: Count = 32_768
    """Request line and headers together."""
    body_bytes: Count = 32 * 1024 * 1024
    """A request's body; pictures inside messages count."""
    answer_bytes: Count = 64 * 1024 * 1024
    """A whole answer of an engine, and one event of a stream."""
    connections: Count = 8_192
    """Open client connections of one worker; above it a new request is answered with 503."""
    key: Bounds = Bounds()
    """Rate limits of each key that has none of its own."""
    person: Bounds = Bounds()
    """Rate limits of each person whose key says nothing of its people."""
    when_over: Literal["error", "answer"] = "error"
    """What is said to whom a rate limit turns away: a 429, or in chats and completions an ordinary answer."""
    state_away: Literal["open", "closed"] = "open"
    """With Redis away: ``open``: each worker counts alone; ``closed``: nobody who has a limit is answered."""


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


class Queue(BaseModel):
    """Where requests wait while every replica of their model has as many as it may have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    places: Annotated[int, Field(ge=0)] = 256
    """Requests that may wait for one model at one worker; 0: none waits."""
    seconds: Seconds = 50
    """For a replica to have room. Dify's embeddings and rerank clients give up after 60 s."""
    when_full: Literal["error", "answer"] = "error"
    """What is said to whom no place or no time is left: a 429, or in chats and completions an ordinary answer."""


class Engines(BaseModel):
    """The engine processes of this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outlive: Literal["restart", "crash", "nothing"] = "restart"
    """What engines live through, to be adopted by the next gateway. The embedded ones: nothing, they start at once."""
    orphan_seconds: Annotated[float, Field(ge=0)] = 900
    """After which an engine ends that no gateway has come back for; 0: never. A quarter of an hour is enough for an
    upgrade, and a forgotten engine does not keep its GPU overnight."""
    log_bytes: Annotated[int, Field(ge=65_536)] = LOG_BYTES
    """Size at which an engine's log is set aside; one older one is kept."""

    def left_by(self, number: signal.Signals) -> bool:
        """Return whether a gateway that is told to end by *number* leaves its engines: not by SIGINT, Ctrl-C."""
        return self.outlive == "restart" and number != signal.SIGINT


class Ray(BaseModel):
    """The Ray cluster on whose nodes deployments with `placement: ray` run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, Field(min_length=1)] = "auto"
    """As `ray.init` takes it: ``auto`` where this machine is a node itself, ``HOST:6379``, or ``ray://HOST:10001``."""
    namespace: Annotated[str, Field(min_length=1)] = "safety-gateway"
    """Where the actors have their names. Each gateway needs one of its own."""
    python: str | None = None
    """An interpreter that has Ray, with the cluster's versions of both; None: the gateway's own."""
    place_seconds: Seconds = 300
    """For a replica to get a node: one that is busy may end, or the autoscaler may bring one."""


class Keywords(BaseModel):
    """The keyword library."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benign_file: Path | None = None
    """Harmless texts as JSON lines, ``{"text": …}``, on which entries are measured."""
    matcher: Literal["hyperscan", "pyahocorasick"] = "hyperscan"
    """What finds the words; ``pyahocorasick`` for machines without a wheel of the other."""
    starter: bool = True
    """Whether the first version holds the words that come with the gateway; else it is empty."""
    ready_seconds: Seconds = 30
    """For slow workers to make a published version ready; then the others use it without them."""


class Audit(BaseModel):
    """The audit log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    durability: Literal["process", "power"] = "process"
    """What a record survives before its turn goes on: the end of the process, or a power cut as well."""
    texts: Keep = "violations"
    """Whose words are kept; of the others their length and sha256 are."""
    masked: tuple[Masked, ...] = ()
    """What is replaced in kept texts."""
    segment_bytes: Annotated[int, Field(ge=65_536)] = 64 * 1024 * 1024
    """Size at which a new file is begun; each day begins one, too."""
    retention_days: Annotated[int, Field(ge=183)] = 183  # 网络安全法, Art. 21: at least six months
    """After which whole files are dropped."""
    signing_key: SecretStr | None = None

    @property
    def secret(self) -> str | None:
        """`signing_key` as it is."""
        return None if self.signing_key is None else self.signing_key.get_secret_value()

    """Signs the heads of the chains; none: a key made in the data directory."""
    heads_copy: Path | None = None
    """A directory, best on another machine, where the signed heads are appended too."""


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
    node: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s{}]+$")] = Field(
        default_factory=socket.gethostname
    )
    """This machine among those that share a state server and a database; none: its host name."""
    data_dir: Path = Path("data")
    """State, logs and sockets; made with mode 0700."""
    host: str = "0.0.0.0"  # noqa: S104 - Dify is on another machine; every request needs a key
    port: Port = 8000
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8900
    workers: Annotated[Count | Literal["auto"], WrapValidator(_count_or_auto)] = 1
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
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Proxies whose word on a client's address (X-Forwarded-For, X-Real-IP) is taken, as networks; none: nobody's."""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    queue: Queue = Queue()
    engines: Engines = Engines()
    ray: Ray = Ray()
    labels: Labels = Labels()
    strikes: Strikes = Strikes()
    keywords: Keywords = Keywords()
    audit: Audit = Audit()
    appeals: Appeals = Appeals()
    complaints: Complaints = Complaints()
    webhooks: Annotated[tuple[Webhook, ...], Field(max_length=MOST_HOOKS)] = ()
    """Who is told of suspensions, lifts and bans."""
    gpus: tuple[DeclaredGpu, ...] | None = None
    """The GPUs of the machine, as plans and checks take them; none: those that nvidia-smi tells of."""
    deployments: tuple[Deployment, ...] | None = None
    """The models; none: the embedded ones."""

    @field_validator("redis_url")
    @classmethod
    def _redis_url_fits(cls, url: str | None) -> str | None:
        form = "must begin with redis://, rediss:// or unix:///"
        if url is None:
            return None
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise _wrong(form)
        try:
            parts = parse_url(url)
        except ValueError as error:
            raise _wrong(str(error)) from None
        if url.startswith("unix://") and "path" not in parts:
            raise _wrong(form)
        return url

    @field_validator("database_url")
    @classmethod
    def _database_url_fits(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            _ = parts.port  # reading it is what checks it
        except ValueError as error:
            raise _wrong(str(error)) from None
        if parts.scheme not in DATABASES:
            raise _wrong("must begin with sqlite:/// or postgresql://")
        if parts.scheme.startswith("sqlite") and parts.path.strip("/") in {"", ":memory:"}:
            raise _wrong("must name a file, which all processes share: sqlite:///FOLDER/NAME.sqlite3")
        return url

    @field_validator("admin_key", "client_key")
    @classmethod
    def _key_fits(cls, secret: SecretStr | None) -> SecretStr | None:
        text = secret.get_secret_value() if secret is not None else "x" * SHORTEST_SECRET
        if len(text) < SHORTEST_SECRET or not text.isascii() or not text.isprintable() or " " in text:
            raise _wrong(f"must have at least {SHORTEST_SECRET} printable ASCII characters, without blanks")
        return secret

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.port == self.admin_port:
            raise _wrong(f"admin_port: {self.port} is also `port`; each needs one of its own", "settings")
        if self.admin_key is not None and self.admin_key == self.client_key:
            raise _wrong("admin_key: is also `client_key`; who may chat would be an admin", "settings")
        if self.labels.header and self.labels.producer is None:
            raise _wrong("labels.header: needs `labels.producer`; no code of a producer is made up", "settings")
        if (second := twice(self.webhooks)) is not None:
            raise _wrong(f"webhooks[{second}].url: stands twice", "settings")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, YAML file. Raises `SettingsInvalid` for the file."""
        del dotenv_settings, file_secret_settings
        path = os.environ.get("GATEWAY_CONFIG")
        if not path:
            return init_settings, env_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, read(Path(path)))

    @property
    def worker_count(self) -> int:
        """Number of data-plane processes."""
        return (os.cpu_count() or 1) if self.workers == "auto" else self.workers


def _names() -> dict[str, tuple[str, ...]]:
    """Return each setting with the names inside it, as the environment spells them."""
    return {name: tuple(_inside(field.annotation)) for name, field in Settings.model_fields.items()}


def _inside(kind: Any) -> Iterator[str]:
    """Yield the names inside a setting, those within one of them with two underscores between."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield name
            yield from (f"{name}__{inner}" for inner in _inside(field.annotation))


def unchecked() -> dict[str, Any]:
    """Return what the file and the environment say of whole settings, as it is written there.

    For a plan of deployments that are wrong. Raises `SettingsInvalid` where it cannot be read at all.
    """
    path = os.environ.get("GATEWAY_CONFIG")
    found = read(Path(path)) if path else {}
    for name in ("deployments", "gpus", "data_dir"):
        if value := os.environ.get(f"GATEWAY_{name.upper()}"):
            try:
                found[name] = value if name == "data_dir" else json.loads(value)
            except ValueError as error:
                raise SettingsInvalid(f"GATEWAY_{name.upper()}: is not valid JSON: {error}") from None
    return found


def load() -> Settings:
    """Read the settings. Raises `SettingsInvalid`, which names each field that is wrong."""
    if wrong := misnamed(os.environ, _names()):
        raise SettingsInvalid("\n".join(wrong))
    path = os.environ.get("GATEWAY_CONFIG")
    if path and not Path(path).is_file():
        raise SettingsInvalid(f"GATEWAY_CONFIG: there is no file {path}")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsInvalid("\n".join(complaints(error, Settings))) from None
