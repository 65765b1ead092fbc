"""A worker in the test's own event loop, in front of a fake engine."""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from backends.endpoint import Endpoint, ReplicaState
from gateway import cli, keys, worker
from gateway.metrics import Metrics
from gateway.relay.front import Shared
from gateway.services import Services
from gateway.settings import Limits, Settings, Timeouts
from gateway.state import sql
from gateway.state.redis import connect
from keywords.library import EMPTY, Library
from tests import postgres, tls
from tests.fakes import NAME, FakeEngine

Shell = Callable[..., tuple[int, str, str]]
SECRET = "sk-gw-test-0123456789abcdef"
MODEL = "/home/usr1/fine-model/Qwen3-14B-5e5/"
ALIAS = "qwen"


def endpoint(port: int, **changes: Any) -> Endpoint:
    """Return a ready replica on loopback."""
    fields: dict[str, Any] = {
        "replica": "qwen#0",
        "model": MODEL,
        "aliases": (ALIAS,),
        "engine": "vllm",
        "served_name": NAME,
        "host": "127.0.0.1",
        "port": port,
        "state": ReplicaState.READY,
    }
    return Endpoint(**{**fields, **changes})


def ring_document(**changes: Any) -> dict[str, Any]:
    """Return a published set of keys with the one of the tests."""
    record = {"key_id": "k1", "name": "test", "tenant": "acme", **changes}
    return {keys.digest(SECRET): record}


@dataclass
class Running:
    """A worker that serves."""

    services: Services
    shared: Shared
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, secret: str | None = SECRET) -> httpx.AsyncClient:
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, verify=tls.CONTEXT)

    def set_stages(self, **changes: Any) -> None:
        """Exchange stages of the turn."""
        self.services.stages = replace(self.services.stages, **changes)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received = b""
        try:
            writer.write(data)
            while part := await reader.read(65536):
                received += part
        except ConnectionError:
            pass
        finally:
            writer.close()
        return received


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Serve with *settings* until the block ends."""
    services = Services(settings, connect(settings), Metrics())
    services.take_keys(ring_document())
    services.shelf.use(EMPTY)
    services.shelf.use(Library.build(()))
    sock = worker.listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    try:
        async with worker.serving(services, sock) as shared:
            yield Running(services, shared, port)
    finally:
        services.upstream.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL, without a database."""
    reason = postgres.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgres.running() as url:
        yield url


BRING_UP_TO_DATE = sql._bring_up_to_date


async def migrate(settings: Settings) -> None:
    """Make the tables of a new database."""
    engine = create_async_engine(sql.database_url(settings))
    await BRING_UP_TO_DATE(engine, settings.data_dir)
    await engine.dispose()


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Has each new SQLite database be a copy of one that was migrated: that takes longer than most of the tests.

    One that is there already is brought up to date as ever, but for that of `refilled`, which is.
    """
    template = Settings(data_dir=tmp_path_factory.mktemp("migrated"))

    async def copied(engine: AsyncEngine, data_dir: Path) -> None:
        file = Path(engine.url.database or "")
        if engine.url.database == REFILLED:
            return
        if engine.dialect.name != "sqlite" or file.exists() or not file.parent.exists():
            await BRING_UP_TO_DATE(engine, data_dir)
            return
        made = template.data_dir / "gateway.sqlite3"
        if not made.exists():
            await migrate(template)
        shutil.copyfile(made, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql, "_bring_up_to_date", copied)
        yield


REFILLED = "refilled"


@pytest.fixture(scope="session")
def refilled(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A database on the server that tests have one after the other: its URL, and what it has at the begin."""
    url = postgres.create(postgres_server, REFILLED)
    asyncio.run(migrate(Settings(data_dir=tmp_path_factory.mktemp("refilled"), database_url=url)))
    return url, postgres.contents(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with a database as it is at the first start, of each kind in turn."""
    if request.param == "sqlite":
        return Settings(data_dir=tmp_path)
    url, contents = request.getfixturevalue("refilled")
    postgres.refill(url, contents)
    return Settings(data_dir=tmp_path, database_url=url)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with a database of its own, for a test that changes tables."""
    if request.param == "sqlite":
        return Settings(data_dir=tmp_path)
    url = postgres.create(request.getfixturevalue("postgres_server"), f"t{secrets.token_hex(8)}")
    return Settings(data_dir=tmp_path, database_url=url)


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    """Settings with time-outs that a test can wait for."""
    timeouts = Timeouts(
        request_seconds=1,
        connect_seconds=1,
        first_token_seconds=1,
        idle_seconds=1,
        answer_seconds=1,
        ping_seconds=0.25,
        client_write_seconds=1,
        drain_seconds=1,
    )
    return Settings(data_dir=tmp_path, deployments=(), timeouts=timeouts, limits=Limits(body_bytes=100_000))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs `gateway …` without a settings file; returns status, stdout and stderr."""
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = cli.main(arguments)
        except SystemExit as error:
            status = int(error.code or 0)
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    """A fake engine."""
    async with FakeEngine() as fake:
        yield fake


@pytest.fixture
async def gateway(settings: Settings, engine: FakeEngine) -> AsyncIterator[Running]:
    """A worker in front of the fake engine."""
    async with running(settings) as run:
        run.services.pool.update([endpoint(engine.port)])
        yield run


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until *condition* holds. Raises TimeoutError after *seconds*."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
