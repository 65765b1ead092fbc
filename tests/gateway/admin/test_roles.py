"""Who may do what, and that the table knows every route."""

import pytest

from gateway.admin.app import create_app
from gateway.admin.roles import ADMIN, MODERATOR, TABLE, VIEWER, Role, changes, needed
from gateway.admin.routes import Routes
from gateway.admin.staff import add_staff


def test_each_role_may_do_what_those_before_it_may() -> None:
    """viewer < moderator < admin."""
    assert [[role.may(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("method", "route", "role"),
    [
        ("GET", "/admin/keys", VIEWER),
        ("POST", "/admin/keys", ADMIN),
        ("PATCH", "/admin/keys/{key_id}", ADMIN),
        ("POST", "/admin/keys/{key_id}/rotate", ADMIN),
        ("GET", "/admin/admins", VIEWER),
        ("POST", "/admin/admins", ADMIN),
        ("POST", "/admin/keywords/entries", MODERATOR),
        ("DELETE", "/admin/keywords/entries", MODERATOR),
        ("POST", "/admin/keywords/import", MODERATOR),
        ("POST", "/admin/keywords/calibrate", MODERATOR),
        ("POST", "/admin/keywords/versions", MODERATOR),
        ("POST", "/admin/keywords/versions/{n}/publish", ADMIN),
        ("POST", "/admin/keywords/rollback", ADMIN),
        ("POST", "/admin/keywords/test", VIEWER),
        ("POST", "/admin/keywords/impact", VIEWER),
        ("GET", "/admin/people", VIEWER),
        ("POST", "/admin/people/lookup", VIEWER),
        ("POST", "/admin/people/{person_id}/suspend", MODERATOR),
        ("DELETE", "/admin/aliases/{alias_id}", MODERATOR),
        ("GET", "/admin/appeals", MODERATOR),
        ("POST", "/admin/appeals/{appeal_id}/uphold", MODERATOR),
        ("POST", "/admin/complaints/{complaint_id}/answer", MODERATOR),
        ("GET", "/admin/audit", VIEWER),
        ("GET", "/admin/audit/export", MODERATOR),
        ("POST", "/admin/audit/verify", VIEWER),
        ("POST", "/admin/webhooks/deliveries/{delivery_id}/retry", MODERATOR),
        ("GET", "/admin/auditors", VIEWER),
        ("POST", "/admin/something/new", ADMIN),
        ("GET", "/admin/something/new", VIEWER),
        ("PURGE", "/admin/people", MODERATOR),
    ],
)
def test_what_a_route_needs(method: str, route: str, role: Role) -> None:
    """The draft is a moderator's, what goes live an admin's; a route that nobody thought of is an admin's."""
    assert needed(method, route) is role


@pytest.mark.parametrize(
    ("query", "role"),
    [
        ([], VIEWER),
        ([("texts", "false")], VIEWER),
        ([("texts", "F")], VIEWER),
        ([("texts", "true")], MODERATOR),
        ([("texts", "1")], MODERATOR),
        ([("texts", "false"), ("texts", "true")], MODERATOR),
        ([("text", "炸弹")], MODERATOR),
        ([("text", "off")], MODERATOR),
        ([("person", "true")], VIEWER),
    ],
)
def test_the_words_of_people_are_for_moderators(query: list[tuple[str, str]], role: Role) -> None:
    """Whichever of two equal parameters counts."""
    assert needed("GET", "/admin/audit", query) is role


def test_a_trial_on_the_words_of_people_is_for_moderators() -> None:
    """On other words it is for everybody."""
    assert needed("POST", "/admin/keywords/impact", [("source", "audit")]) is MODERATOR


def test_what_changes_something() -> None:
    """All but reading and trials."""
    assert changes("POST", "/admin/keys")
    assert changes("DELETE", "/admin/nothing")
    assert not changes("GET", "/admin/keys")
    assert not changes("POST", "/admin/keywords/test")


def test_every_route_stands_where_it_can_be_found() -> None:
    """Each route of the API is found by its path as the table means it, and no row is shadowed by one before it."""
    app = create_app(None)  # type: ignore[arg-type]
    add_staff(app, None)  # type: ignore[arg-type]
    routes = Routes(app.openapi())
    known = list(routes)
    assert ("POST", "/admin/keys/{key_id}/rotate") in known
    for method, path in known:
        found = routes.find(method, path.replace("{", "").replace("}", ""))
        assert found is not None, path
        assert found.path == path
        assert not (changes(method, path) and needed(method, path) is VIEWER), path
    rows = [row.route for row in TABLE]
    assert not [
        (early, late)
        for i, early in enumerate(rows)
        for late in rows[i + 1 :]
        if late == early or late.startswith(f"{early}/")
    ]
