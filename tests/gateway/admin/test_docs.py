"""The page that shows every route."""

import re

from tests.gateway.admin.conftest import Api


async def test_the_page_needs_no_internet(api: Api) -> None:
    """Everything that it loads is here, and is the program that the page wants."""
    page = await api.ask("GET", "/docs", None)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(loaded) == ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "data:,"]
    assert not re.findall(r"https?://", page.text)
    script = await api.ask("GET", "/docs/swagger-ui-bundle.js", None)
    assert (200, True) == (script.status_code, "SwaggerUIBundle" in script.text)
    style = await api.ask("GET", "/docs/swagger-ui.css", None)
    assert style.headers["content-type"].startswith("text/css")
    assert not re.findall(r"(?:@import|url\(['\"]?https?:)", style.text)


async def test_it_gives_no_other_file(api: Api) -> None:
    """Whatever the path says."""
    for path in ("/docs/redoc.standalone.js", "/docs/..%2f__init__.py", "/docs/x/y"):
        response = await api.ask("GET", path, None)
        assert (404, "route_not_found") == (response.status_code, response.json()["error"]["code"])


async def test_every_route_says_what_it_does_and_who_may(api: Api) -> None:
    """The document is what the page is made of."""
    for _ in range(2):
        document = (await api.ask("GET", "/openapi.json", None)).json()
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            said = operation["description"]
            assert len(re.findall(r"Role: `(viewer|moderator|admin)`\.", said)) == 1, (method, path)
            assert not said.startswith("Role"), (method, path)
    rotate = document["paths"]["/admin/admins/{admin_id}/rotate"]["post"]
    assert "Role: `admin`." in rotate["description"]
    body = document["paths"]["/admin/keywords/import"]["post"]["requestBody"]
    assert "application/octet-stream" in body["content"]


async def test_errors_look_as_the_page_says(api: Api) -> None:
    """Not in the shape that the framework has for them."""
    document = (await api.ask("GET", "/openapi.json", None)).json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert {"4XX"} <= operation["responses"].keys(), (method, path)
            assert "422" not in operation["responses"], (method, path)
    shape = document["components"]["schemas"]["Error"]["properties"]["error"]
    error = (await api.ask("GET", "/admin/people?limit=0")).json()["error"]
    assert error.keys() == shape["properties"].keys() == set(shape["required"])
    assert (error["param"], error["src"]) == ("limit", shape["properties"]["src"]["enum"][0])
