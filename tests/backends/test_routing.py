from backends.endpoint import Endpoint
from backends.routing import choose


def endpoint(name: str) -> Endpoint:
    return Endpoint(replica=name, model="m", engine="vllm", served_name="m", host="127.0.0.1", port=1)


THREE = [endpoint("a"), endpoint("b"), endpoint("c")]


def test_the_least_loaded_is_chosen() -> None:
    """Requests in flight decide; what is not counted has none."""
    assert choose(THREE, {"a": 2, "b": 1, "c": 3}, "x").replica == "b"
    assert choose(THREE, {"a": 1, "b": 1}, "x").replica == "c"


def test_a_person_stays_where_their_cache_is() -> None:
    """Among equals the same key has the same replica, and keys are spread over all of them."""
    chosen = {key: choose(THREE, {}, key).replica for key in map(str, range(60))}
    assert chosen == {key: choose(THREE[::-1], {}, key).replica for key in chosen}
    assert set(chosen.values()) == {"a", "b", "c"}
