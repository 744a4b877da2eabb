"""The application that a server runs: routes, the guard before them, and refusals in one shape."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from textfer import __version__
from textfer.errors import TextferError
from textfer.serve import completions, routes, runs
from textfer.serve.guard import Guard
from textfer.serve.pages import router as pages
from textfer.serve.problems import GONE, fault, problem_of
from textfer.serve.service import Service

ABOUT = "Answers, texts, labels and vectors from text-to-text models. Every refusal has the same shape, with words."


def make_app(service: Service) -> FastAPI:
    """An ASGI application. No page of it fetches anything from elsewhere, so FastAPI's own are left out."""
    app = FastAPI(
        title="Textfer",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for part in (routes.router, completions.router, runs.router, pages):
        app.include_router(part)
    app.add_middleware(Guard, service=service)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(TextferError, _refused)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    problem = problem_of(error) or fault()
    if problem.status_code == GONE:
        raise problem  # nobody is there to be told
    return problem.response()
