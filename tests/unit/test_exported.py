"""A model exported to CTranslate2, asked like any other: alone, through an engine and through a server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import torch

from serving import events, live
from textfer.answer import TextToText
from textfer.calibration import Calibration, Scale, write_calibration
from textfer.choices import Normalise
from textfer.engine import Cancelled, Engine
from textfer.errors import CheckpointError, ConfigError, DataError, MachineError, TextferError
from textfer.export import export
from textfer.generate import Decoding
from textfer.models.t5 import T5
from textfer.parts import load, open_model
from textfer.serve.service import Service
from textfer.serve.shelf import open_shelf
from textfer.tokenizers import load_tokenizer

pytest.importorskip("ctranslate2")
pytestmark = pytest.mark.usefixtures("one_thread")

WAIT = 60.0
SHAPE = {"model_dim": 32, "ff_dim": 48, "head_dim": 8, "num_heads": 4, "num_layers": 2, "dropout": 0.0}
TEXTS = [f"text {number} " + "abcdefghij"[number] * 3 * number for number in range(8)]
SHORT = Decoding(max_new_tokens=12)
MEANS = Calibration(answer=Scale(temperature=2.0), num_questions=50, fitted_on="questions made up")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, random weights of which some answers end, and `ct2`, what our exporter made of it."""
    place, tokenizer = tmp_path_factory.mktemp("exported"), load_tokenizer("bytes")
    torch.manual_seed(7)
    model = T5.make(SHAPE, vocab_size=tokenizer.vocab_size)
    with torch.no_grad():
        model.readout()[0].mul_(3.0)
        model.readout()[0][tokenizer.specials.eos] *= 3.0
    model.save(place / "model")
    tokenizer.save(place / "model")
    write_calibration(MEANS, place / "model")
    export(str(place / "model"), "ct2", place / "ct2")
    return place


def opened(place: Path, **how: Any) -> TextToText:
    found = load(str(place), device="cpu", **how)
    assert isinstance(found, TextToText)
    return found


@pytest.fixture(scope="module")
def ours(folder: Path) -> TextToText:
    return opened(folder / "model")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> TextToText:
    return opened(folder / "ct2")


@pytest.mark.parametrize("beams", [1, 3])
def test_it_writes_what_the_model_writes(ours: TextToText, theirs: TextToText, beams: int) -> None:
    way = Decoding(max_new_tokens=12, beams=beams, batch_size=3)
    wanted, found = ours.predictor.generate(TEXTS, way), theirs.predictor.generate(TEXTS, way)
    assert [(one.text, one.num_tokens) for one in found] == [(one.text, one.num_tokens) for one in wanted]
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in wanted], abs=1e-3)
    assert {one.num_tokens < 12 for one in found} == {True, False}, "some should end, and some be cut off"


def test_every_door(ours: TextToText, theirs: TextToText) -> None:
    assert theirs.calibration == MEANS, "it goes with the weights"
    long = "The herons nest below the weir. " * 30
    for question, context in (("Who?", "Ida Lund."), ("Where do they nest?", long), ("When?", None)):
        wanted = ours.answer(question, context=context, decoding=SHORT, candidates=2)
        found = theirs.answer(question, context=context, decoding=SHORT, candidates=2)
        assert (found.text, found.start, found.evidence) == (wanted.text, wanted.start, wanted.evidence)
        assert found.score == pytest.approx(wanted.score, abs=1e-3)
    with pytest.warns(UserWarning, match="reached max_new_tokens"):
        assert theirs.translate(TEXTS[2], decoding=SHORT) == ours.translate(TEXTS[2], decoding=SHORT)
    with pytest.warns(UserWarning, match="reached max_new_tokens"):
        assert theirs.summarize(TEXTS[2], decoding=SHORT) == ours.summarize(TEXTS[2], decoding=SHORT)
    labels, ways = ["good", "bad", ""], get_args(Normalise)
    assert theirs.score(TEXTS[4], labels) == pytest.approx(ours.score(TEXTS[4], labels), abs=1e-3)
    for how in ways:
        said, right = (one.classify(TEXTS[:2], choices=labels[:2], normalise=how) for one in (theirs, ours))
        assert [one.choice for one in said] == [one.choice for one in right]
        assert said[0].probs == pytest.approx(right[0].probs, abs=1e-3)


def test_through_an_engine(ours: TextToText, theirs: TextToText) -> None:
    with Engine(theirs) as engine:
        tickets = [engine.generate(text, SHORT) for text in TEXTS]
        pieces = [list(ticket) for ticket in tickets]
        beams = engine.generate(TEXTS[0], Decoding(max_new_tokens=12, beams=3))
        answer = engine.answer("Who?", "Ida Lund.", decoding=SHORT)
        label = engine.classify(TEXTS[1], ["good", "bad"])
        found = [ticket.result(WAIT) for ticket in tickets]
        assert [one.text for one in found] == ours.generate(TEXTS, decoding=SHORT)
        assert ["".join(some) for some in pieces] == [one.text for one in found]
        assert beams.result(WAIT).text == ours.generate(TEXTS[0], decoding=Decoding(max_new_tokens=12, beams=3))
        assert answer.result(WAIT).text == ours.answer("Who?", context="Ida Lund.", decoding=SHORT).text
        assert label.result(WAIT).choice == ours.classify(TEXTS[1], choices=["good", "bad"]).choice
        with pytest.raises(ConfigError, match="only writes and scores: no vectors"):
            engine.embed("a").result(WAIT)
        assert engine.load["tokens_written"] >= sum(one.num_tokens for one in found)


def test_a_text_that_nobody_waits_for_is_left(theirs: TextToText) -> None:
    told: list[str] = []
    with Engine(theirs) as engine:
        ticket = engine.generate(TEXTS[6], Decoding(max_new_tokens=2000))

        def hear(piece: str) -> None:
            told.append(piece)
            ticket.cancel()

        ticket.on_piece(hear)
        with pytest.raises(Cancelled):
            ticket.result(WAIT)
        assert engine.generate(TEXTS[6], SHORT).result(WAIT).num_tokens <= 12
    assert 0 < len(told) < 20


def test_through_a_server(folder: Path, theirs: TextToText) -> None:
    shelf = open_shelf({"fast": str(folder / "ct2")}, {})
    with live(Service(shelf)) as url, httpx.Client(base_url=url, trust_env=False) as http:
        (model,) = http.get("/v1/models").json()["data"]
        assert (model["can"], model["adapters"]) == (["answer", "generate", "classify"], [])
        asked = {"text": TEXTS[6], "max_new_tokens": 12}
        written = http.post("/v1/generate", json=asked).json()["text"]
        assert written == theirs.generate(TEXTS[6], decoding=SHORT)
        streamed = http.post("/v1/generate", json={**asked, "stream": True})
        assert streamed.status_code == 200
        assert events(streamed.text)[-1] == "[DONE]"
        for path, body, words in (
            ("embed", {"text": "a"}, "The model 'fast' cannot embed; it can answer, generate, classify."),
            ("generate", {**asked, "sample": True}, "sample: CTranslate2 draws nothing that a seed gives again."),
        ):
            refused = http.post(f"/v1/{path}", json=body)
            assert refused.status_code == 422, refused.text
            assert words in refused.json()["error"]["message"]


def test_int8_weights(folder: Path) -> None:
    reader = opened(folder / "ct2", weights="int8")
    assert "computed by CTranslate2 in int8" in repr(reader)
    assert len(reader.generate(TEXTS[:2], decoding=SHORT)) == 2


def test_what_it_cannot_do_is_said_in_a_line(folder: Path, theirs: TextToText) -> None:
    assert "embed" not in theirs.can
    acts: list[tuple[Any, type[TextferError], str]] = [
        (lambda: theirs.embed("a"), ConfigError, "only writes and scores: no vectors, adapters, tuning or training"),
        (lambda: theirs.add_adapter("a", folder), ConfigError, "Name the model it was made of"),
        (lambda: opened(folder / "ct2", adapters={"a": folder}), ConfigError, "no vectors, adapters"),
        (lambda: theirs.generate("a", decoding=Decoding(sample=True)), ConfigError, "^sample: CTranslate2 draws"),
        (lambda: theirs.predictor.generate(["a"], choices=["b"]), ConfigError, "Rank them: classify"),
        (lambda: theirs.generate(["a", ""]), DataError, r"^text 2 of 2: is empty, and CTranslate2 writes nothing"),
        (lambda: theirs.generate("a " * 9000), DataError, r"is 18,001 tokens long, expected 8,192 at most"),
        (lambda: open_model(folder / "ct2"), CheckpointError, "ct2: was exported to CTranslate2, which answers"),
    ]
    for act, kind, words in acts:
        with pytest.raises(kind, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)


def test_damaged_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder / "ct2", tmp_path / "ct2")
    names, weights = tmp_path / "ct2" / "shared_vocabulary.json", tmp_path / "ct2" / "model.bin"
    whole, made = weights.read_bytes(), names.read_text(encoding="utf-8")
    for path, content, words in (
        (weights, whole[: len(whole) // 2], r"CTranslate2 cannot load it \(.*\)\. Export it again\.$"),
        (names, made.replace('"</s>"', '"<end>"').encode(), r"the vocabulary beside it is another \(id 1 is '<end>'"),
        (names, b"[", r"shared_vocabulary\.json: cannot be read"),
        (names, b'{"a": 1}', r"shared_vocabulary\.json: is no list of names"),
    ):
        weights.write_bytes(whole)
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words) as caught:
            load(str(tmp_path / "ct2"))
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MachineError, match=r"needs ctranslate2\. pip install 'textfer\[ct2\]'$"):
        load(str(folder / "ct2"))
