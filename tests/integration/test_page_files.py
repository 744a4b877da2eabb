"""What the web page is made of: which files are served, as what, under which policy, and nothing else."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from importlib.resources import files

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from page_server import Seen, make_app, serving

from textfer.serve.pages import INDEX, STATIC


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(make_app(Seen())) as (address, _):
        yield address


def fetched(url: str, **headers: str) -> HTTPResponse:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)


def test_files_have_their_types_and_a_strict_policy(url: str) -> None:
    for name in ["", *(f"static/{one}" for one in STATIC)]:
        with fetched(f"{url}/{name}") as reply:
            content, headers = reply.read(), dict(reply.headers)
        ending = name.rpartition(".")[2]
        kinds = {
            "": "text/html; charset=utf-8",
            "js": "text/javascript; charset=utf-8",
            "css": "text/css; charset=utf-8",
        }
        assert headers["content-type"] == kinds.get(ending, "image/svg+xml")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-cache"
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", content), name
        with pytest.raises(urllib.error.HTTPError) as same:
            fetched(f"{url}/{name}", **{"If-None-Match": headers["etag"]})
        assert same.value.code == 304
        same.value.close()


@pytest.mark.parametrize("name", ["pages.py", "index.html", "..%2fpages.py", "%2e%2e/pages.py", "app.js%00", ""])
def test_nothing_else_is_served(url: str, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetched(f"{url}/static/{name}")
    assert refused.value.code == 404
    refused.value.close()


def test_every_file_of_the_page_is_listed_and_every_listed_one_is_there() -> None:
    folder = files("textfer.serve") / "web"
    assert {one.name for one in folder.iterdir()} == {INDEX, *STATIC}
    texts = [one.read_text(encoding="utf-8") for one in folder.iterdir()]
    named = {name for text in texts for name in re.findall(r"""(?:static/|from "\./)([\w.]+)["']""", text)}
    assert named == set(STATIC)
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage| style=\""
    assert [found for text in texts for found in re.findall(banned, text)] == []
