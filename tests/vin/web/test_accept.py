import pytest
from aiohttp.test_utils import make_mocked_request

from vin.web.accept import accepts


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "APPLICATION/JSON",
        "application/*;q=0.1",
        "text/html, application/json;q=0.9",
        "text/html, */*;q=0.1",
        "application/json; charset=utf-8; q=1",
        "*/*;q=0, application/json",
        "application/json;q=high",
    ],
)
def test_json_is_taken(accept: str) -> None:
    request = make_mocked_request("GET", "/", headers={"Accept": accept})

    assert accepts(request, "application/json")


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml, text/*",
        "application/json;q=0",
        "application/json;q=0.0, */*",
        "*/*;q=0",
        "json",
        ",",
    ],
)
def test_json_is_not_taken(accept: str) -> None:
    request = make_mocked_request("GET", "/", headers={"Accept": accept})

    assert not accepts(request, "application/json")


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("text/*", True),
        ("application/json, application/*", False),
    ],
)
def test_a_page_is_taken_by_browsers(accept: str, *, taken: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"Accept": accept})

    assert accepts(request, "text/html") is taken
