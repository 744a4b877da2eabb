"""The web page: one HTML file and what it loads, each under a fixed name, out of the installed package."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException
from fastapi.responses import Response

HTML, SCRIPT = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
INDEX = "index.html"
STATIC = {
    **dict.fromkeys(
        ("app.js", "api.js", "ask.js", "chart.js", "dom.js", "key.js", "runs.js", "text.js", "write.js"), SCRIPT
    ),
    "style.css": "text/css; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}
"""What may be asked for, and its media type; nothing else of the disk can be reached."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # the browser itself refuses text that would become HTML, but by the one policy that reads dropped pages
        "require-trusted-types-for 'script'",
        "trusted-types read-html",
    )
)
HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked about each time: after an update no old script meets a new page
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page."""
    return _file(INDEX, HTML, if_none_match)


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
def static(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A script, the style or the icon. Errors: 404 for every other name."""
    if name not in STATIC:
        raise HTTPException(404, f"There is no file '{name[:80]}'")
    return _file(name, STATIC[name], if_none_match)


def _file(name: str, media_type: str, known: str | None) -> Response:
    content, tag = _content(name)
    headers = {**HEADERS, "ETag": tag}
    if known is not None and tag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@cache
def _content(name: str) -> tuple[bytes, str]:
    content = (files("textfer.serve") / "web" / name).read_bytes()
    return content, f'"{sha256(content).hexdigest()[:20]}"'
