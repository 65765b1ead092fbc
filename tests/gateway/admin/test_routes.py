"""From a path to its route."""

from gateway.admin.routes import Routes

ROUTES = Routes(
    {
        "paths": {
            "/admin/people/lookup": {"post": {}},
            "/admin/people/{person_id}": {"get": {}, "parameters": []},
            "/admin/people/{person_id}/{what}": {"post": {}},
        }
    }
)


def test_a_route_is_found_with_its_parameters() -> None:
    """HEAD goes where GET goes."""
    found = ROUTES.find("HEAD", "/admin/people/p1")
    assert found == ("/admin/people/{person_id}", {"person_id": "p1"})
    assert ROUTES.find("POST", "/admin/people/lookup") == ("/admin/people/lookup", {})
    assert ROUTES.find("POST", "/admin/people/p1/lift") == (
        "/admin/people/{person_id}/{what}",
        {"person_id": "p1", "what": "lift"},
    )


def test_what_is_no_route_is_none() -> None:
    """Neither another method nor a longer path."""
    assert ROUTES.find("DELETE", "/admin/people/p1") is None
    assert ROUTES.find("GET", "/admin/people/p1/") is None
    assert next(iter(ROUTES)) == ("POST", "/admin/people/lookup")
