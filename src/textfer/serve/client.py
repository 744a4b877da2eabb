"""A client for `textfer serve`: the same words as for a model at hand, typed results, the server's words in errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final, overload

from textfer.errors import MachineError, TextferError

if TYPE_CHECKING:
    import httpx

URL = "http://127.0.0.1:8100"


class ServerError(TextferError):
    """What the server said instead of an answer, or that it cannot be reached."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "", wait: float | None = None) -> None:
        """`status`: of HTTP, None where no answer came; `code`: for programs; `wait`: seconds before another try."""
        super().__init__(message)
        self.status, self.code, self.wait = status, code, wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of several answers."""

    text: str
    score: float
    start: int | None
    end: int | None
    evidence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or none (`text` is None), and where it stands in the text."""

    text: str | None
    score: float
    start: int | None
    end: int | None
    evidence: str | None
    candidates: tuple[Candidate, ...]
    note: str | None
    """What was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The likeliest label, and the share of every one."""

    choice: str
    probs: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What a model can under an adapter."""

    can: tuple[str, ...]
    labels: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that can be asked; `can` and `labels` are those without an adapter."""

    name: str
    can: tuple[str, ...]
    adapters: tuple[str, ...]
    labels: dict[str, tuple[str, ...]]
    under: dict[str, Ability]
    """Adapter → what it can with it."""


@final
class Client:
    """Asks a server. One string gives one result, a list gives a list; it may be shared by threads.

    `model` and `adapter` name what is asked, where the server has several.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        model: str | None = None,
        adapter: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        """Errors: MachineError where httpx is not installed."""
        try:
            import httpx
        except ModuleNotFoundError:
            raise MachineError('client: needs httpx. Run `pip install "textfer[serve]"`.') from None
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http: httpx.Client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout)
        self._asked = {name: value for name, value in (("model", model), ("adapter", adapter)) if value is not None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of its connections."""
        self._http.close()

    @overload
    def answer(self, question: str, *, context: str | None = None, candidates: int = ...) -> Answer: ...
    @overload
    def answer(
        self, question: list[str], *, context: str | list[str] | None = None, candidates: int = ...
    ) -> list[Answer]: ...
    def answer(
        self, question: str | list[str], *, context: str | list[str] | None = None, candidates: int = 5
    ) -> Answer | list[Answer]:
        """The answer to a question about `context`; from memory alone when that is None. Errors: ServerError."""
        found = self._post("answer", {"question": question, "context": context, "candidates": candidates})
        return _answer(found) if isinstance(question, str) else [_answer(one) for one in found["answers"]]

    @overload
    def generate(self, text: str, *, max_new_tokens: int = ..., beams: int = ...) -> str: ...
    @overload
    def generate(self, text: list[str], *, max_new_tokens: int = ..., beams: int = ...) -> list[str]: ...
    def generate(self, text: str | list[str], *, max_new_tokens: int = 64, beams: int = 1) -> str | list[str]:
        """What the model writes after the text, prefix words and all. Errors: ServerError."""
        found = self._post("generate", {"text": text, "max_new_tokens": max_new_tokens, "beams": beams})
        return str(found["text"]) if isinstance(text, str) else [str(one["text"]) for one in found["outputs"]]

    def sample(
        self,
        text: str,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        max_new_tokens: int = 64,
    ) -> str:
        """A text drawn at random. Errors: ServerError."""
        ways = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        return str(
            self._post("generate", {"text": text, "sample": True, "max_new_tokens": max_new_tokens, **ways})["text"]
        )

    def stream(self, text: str, *, max_new_tokens: int = 64) -> Iterator[str]:
        """The same text as `generate`, piece by piece. Leaving the loop stops the server too. Errors: ServerError."""
        import httpx

        body = {"text": text, "max_new_tokens": max_new_tokens, "stream": True, **self._asked}
        try:
            with self._http.stream("POST", "/v1/generate", json=body) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    data = line.removeprefix("data: ")
                    if data == "[DONE]":
                        return
                    if data and line != data:
                        yield from _piece(data)
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        raise ServerError(f"{self._http.base_url}: the stream broke off before its end. Try again.")

    @overload
    def classify(self, text: str, *, choices: Sequence[str] | None = None) -> Label: ...
    @overload
    def classify(self, text: list[str], *, choices: Sequence[str] | None = None) -> list[Label]: ...
    def classify(self, text: str | list[str], *, choices: Sequence[str] | None = None) -> Label | list[Label]:
        """The likeliest label; None = of those that the model was trained on. Errors: ServerError."""
        found = self._post("classify", {"text": text, "choices": None if choices is None else list(choices)})
        return _label(found) if isinstance(text, str) else [_label(one) for one in found["results"]]

    @overload
    def embed(self, text: str) -> list[float]: ...
    @overload
    def embed(self, text: list[str]) -> list[list[float]]: ...
    def embed(self, text: str | list[str]) -> list[float] | list[list[float]]:
        """The text as a vector. Errors: ServerError."""
        found = self._post("embed", {"text": text})
        return list(found["vector"] if isinstance(text, str) else found["vectors"])

    def models(self) -> list[ModelInfo]:
        """What can be asked. Errors: ServerError."""
        return [
            ModelInfo(
                name=one["id"],
                can=tuple(one["can"]),
                adapters=tuple(one["adapters"]),
                labels=_labels(one),
                under={
                    name: Ability(can=tuple(able["can"]), labels=_labels(able)) for name, able in one["under"].items()
                },
            )
            for one in self._sent("GET", "/v1/models")["data"]
        ]

    def _post(self, verb: str, fields: dict[str, Any]) -> Any:
        body = {name: value for name, value in fields.items() if value is not None}
        return self._sent("POST", f"/v1/{verb}", {**body, **self._asked})

    def _sent(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        import httpx

        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        if response.is_error:
            raise _refusal(response)
        return response.json()

    def _unreached(self, error: Exception) -> ServerError:
        words = str(error) or type(error).__name__
        return ServerError(f"{self._http.base_url}: no answer ({words}). Is the server running?")


def _refusal(response: httpx.Response) -> ServerError:
    """What the server said, in its own words."""
    try:
        said = response.json()["error"]
        message, code = str(said["message"]), str(said["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"the server answered {response.status_code} without words.", ""
    after = response.headers.get("retry-after", "")
    wait = float(after) if after.isdecimal() else None
    return ServerError(message, status=response.status_code, code=code, wait=wait)


def _piece(data: str) -> Iterator[str]:
    value = json.loads(data)
    if said := value.get("error"):
        raise ServerError(str(said["message"]), code=str(said["code"]))
    if value.get("text"):
        yield str(value["text"])


def _answer(found: dict[str, Any]) -> Answer:
    return Answer(
        text=found["answer"],
        score=found["score"],
        start=found["start"],
        end=found["end"],
        evidence=found["evidence"],
        candidates=tuple(Candidate(**one) for one in found["candidates"]),
        note=found["note"],
    )


def _label(found: dict[str, Any]) -> Label:
    return Label(choice=found["choice"], probs=dict(found["probs"]))


def _labels(found: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {task: tuple(labels) for task, labels in found["labels"].items()}
