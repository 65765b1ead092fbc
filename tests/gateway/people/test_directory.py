"""Who is who."""

from gateway.people.directory import Directory, packed, person_id
from gateway.relay.identity import Person


def test_ids_tell_tenants_apart_and_nothing_else() -> None:
    """The same name under two tenants is two people; an id is 24 hex digits whatever the name."""
    ids = {person_id("a", "b"), person_id("", "a\0b"), person_id("b", "a"), person_id("a", "b" * 10_000)}
    assert len(ids) == 4
    assert all(len(one) == 24 for one in ids)


def test_aliases_bans_and_exemptions_hold() -> None:
    """An alias stands for the other person; bans and exemptions end when they say."""
    directory = Directory()
    one, other = person_id("t", "one"), person_id("t", "other")
    document = {"aliases": packed({one: other}), "bans": {other: {"until": 100}}, "exempt": {other: {}}}
    directory.take(document)
    assert directory.id_of(Person("t", "one")) == other
    assert directory.ban(other, 99) is not None
    assert directory.ban(other, 100) is None
    assert directory.exempt(other, 1e12)
    assert not directory.exempt(one, 0)


def test_each_of_many_aliases_is_found_and_nobody_else() -> None:
    """First, last and in between; who is none keeps their own id."""
    aliases = {person_id("t", f"a{i}"): person_id("t", f"p{i}") for i in range(1_000)}
    directory = Directory()
    directory.take({"aliases": packed(aliases)})
    assert all(directory.id_of(Person("t", f"a{i}")) == person_id("t", f"p{i}") for i in range(1_000))
    assert all(directory.id_of(Person("t", f"x{i}")) == person_id("t", f"x{i}") for i in range(1_000))
    directory.take({})
    assert directory.id_of(Person("t", "a1")) == person_id("t", "a1")
