"""`summarize` and `translate` as people meet them: texts, files, stdin, what is said and how they leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from console import refused, write

pytestmark = pytest.mark.usefixtures("one_thread")


def test_texts_files_and_stdin_give_the_same(call: Any, model: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "Anna sings.")
    words = ("summarize", "--model", model, "--max-new-tokens", 3)
    done = call(*words, "Anna sings.")
    assert done.code == 0
    assert done.err.count("\n") <= 1, "a note where it was cut off"
    assert call(*words, stdin="Anna sings.").out == done.out
    assert call(*words, "--file", file).out == done.out
    both = call(*words, "--file", file, "--file", file, "--json").json["outputs"]
    assert both == [{"file": str(file), "output": done.out.rstrip("\n")}] * 2


def test_translate_names_the_languages(call: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def translate(self: Any, text: list[str], **more: str) -> list[str]:
        asked.update(more, text=text)
        return [one.upper() for one in text]

    monkeypatch.setattr("textfer.answer.TextToText.translate", translate)
    done = call("translate", "--model", model, "--from", "German", "--to", "English", "Ja. Nein.")
    assert done.out == "JA. NEIN.\n"
    assert asked == {"source": "German", "target": "English", "text": ["Ja. Nein."]}


def test_what_is_cut_off_is_said(call: Any, model: Path) -> None:
    done = call("summarize", "--model", model, "--max-new-tokens", 1, "Anna sings.")
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert done.err.startswith("note: summarize: 1 of 1 pieces written reached max_new_tokens (1)")


@pytest.mark.parametrize(
    ("words", "stdin", "code", "message"),
    [
        (["summarize"], " \n", 2, "summarize: no text. Give some, a --file, or text on stdin."),
        (["summarize"], b"\xff", 3, "stdin: is not UTF-8. Convert it first."),
        (["translate", "a", "--file", "b"], "", 2, "translate: got texts and files, expected one of both. Drop one."),
        (["translate", "--file", "no/such.pdf"], "", 3, "no/such.pdf: no such file."),
        (["translate", "a", " "], "", 2, "translate: text 2 of 2 is empty."),
        (
            ["translate", "a", "--to", ""],
            "",
            2,
            "translate: a language has no name. Give both, such as English and German.",
        ),
    ],
)
def test_refused(call: Any, model: Path, words: Sequence[str], stdin: str | bytes, code: int, message: str) -> None:
    refused(call(words[0], *words[1:], "--model", model, stdin=stdin), code, message)
