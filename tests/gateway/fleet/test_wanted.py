"""What the settings and the database want together."""

from typing import Any

from backends.deployment import Deployment
from gateway.fleet.group import id_of
from gateway.fleet.store import Row
from gateway.fleet.wanted import merged, spec_of, wanted


def spec(model: str = "m", **fields: Any) -> dict[str, Any]:
    return {"model": model, "engine": "external", "url": "http://127.0.0.1:1", **fields}


def deployment(model: str = "m", **fields: Any) -> Deployment:
    return Deployment.model_validate(spec(model, **fields))


def row(said: dict[str, Any], base: dict[str, Any] | None = None) -> Row:
    return Row(id_of(said["model"]), said["model"], said, base)


def test_those_of_the_settings_come_first() -> None:
    found = wanted([deployment("a")], [row(spec("b"))])
    assert [("a", "file"), ("b", "rest")] == [(one.deployment.model, one.origin) for one in found.entries]


def test_a_change_by_rest_counts_while_the_settings_say_the_same() -> None:
    rows = [row(spec(routing="affinity"), base=spec())]
    [entry] = wanted([deployment()], rows).entries
    assert ("affinity", "file", ["routing"]) == (entry.deployment.routing.value, entry.origin, entry.changes())
    found = wanted([deployment(aliases=["x"])], rows)
    assert ("least_tokens", []) == (found.entries[0].deployment.routing.value, found.entries[0].changes())
    assert rows == list(found.dropped)
    assert rows == list(wanted([], rows).dropped)


def test_what_cannot_be_read_any_more_is_named() -> None:
    """A field of another version, say; the rest runs."""
    found = wanted([deployment("a")], [row(spec("b", flavour="sweet"))])
    assert ["a"] == [one.deployment.model for one in found.entries]
    assert ["flavour: there is no such setting"] == [one.why for one in found.unusable]


def test_a_stored_deployment_has_its_secret_and_no_defaults() -> None:
    said = spec(api_key="sk-1")
    assert said == spec_of(deployment(api_key="sk-1"))
    assert Deployment.model_validate(spec_of(deployment(api_key="sk-1"))) == deployment(api_key="sk-1")


def test_null_takes_a_field_back() -> None:
    assert spec(routing="affinity") == merged(deployment(aliases=["x"]), {"aliases": None, "routing": "affinity"})
