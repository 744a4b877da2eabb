"""Exported models: other programs answer the probes as ours does, or nothing is written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from textfer.errors import CheckpointError, ConfigError, MachineError
from textfer.export import NEEDS, Form, ct2, export
from textfer.export.probes import TEXTS, Said, compare
from textfer.heads import Head
from textfer.models.bert import Bert
from textfer.models.headed import Headed
from textfer.models.t5 import T5
from textfer.tokenizers import TokenizerOptions, load_tokenizer, train_sentencepiece
from textfer.tokenizers.hub import Subwords
from textfer.tokenizers.unigram_json import needs_json, unigram_json

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = {"model_dim": 32, "ff_dim": 48, "head_dim": 8, "num_heads": 4, "num_layers": 2, "dropout": 0.0}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "aeioustn"))


def needs(form: Form) -> None:
    """Skips where what writes a form, or is asked, is not installed."""
    for one in NEEDS[form]:
        if find_spec(one) is None:
            pytest.skip(f"{one} is not installed")


@pytest.fixture(scope="module")
def byte_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary that spells unknown characters in bytes."""
    folder = tmp_path_factory.mktemp("bytes")
    options = TokenizerOptions(vocab_size=380, num_sentinels=10, byte_fallback=True)
    train_sentencepiece([text.lower() for text in TEXTS[:6] for _ in range(9)], folder, options)
    return folder


def t5(folder: Path, vocabulary: Path, **options: object) -> Path:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(vocabulary)
    T5.make({**SHAPE, **options}, vocab_size=tokenizer.vocab_size).save(folder)
    tokenizer.save(folder)
    return folder


def bert(folder: Path, kind: str, labels: tuple[str, ...] = ()) -> Path:
    torch.manual_seed(0)
    reader = Bert.make({"model_dim": 32, "ff_dim": 48, "num_heads": 2, "num_layers": 2}, vocab_size=len(WORDS))
    head = Head.model_validate({"name": kind, "kind": kind, "labels": labels})
    Headed(reader, [head]).save(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["hf", "ct2"])
@pytest.mark.parametrize("options", [{}, {"tie_output": True, "feed_forward": "relu", "num_decoder_layers": 1}])
def test_a_t5_writes_the_same_elsewhere(
    form: Form, options: dict[str, object], tmp_path: Path, byte_vocabulary: Path
) -> None:
    needs(form)
    done = export(str(t5(tmp_path / "model", byte_vocabulary, **options)), form, tmp_path / "out")
    assert done.num_probes == len(TEXTS)
    assert 0 <= done.furthest < 1e-4
    assert load_tokenizer(tmp_path / "out").digest == load_tokenizer(byte_vocabulary).digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]  # nothing is left beside
    with pytest.raises(ConfigError, match=r"out: is there already\. Name a new folder\.$"):
        export(str(tmp_path / "model"), form, tmp_path / "out")


@pytest.mark.parametrize("form", ["hf", "onnx"])
@pytest.mark.parametrize(("kind", "labels"), [("span", ()), ("tag", ("O", "B-x", "I-x")), ("class", ("no", "yes"))])
def test_a_reader_says_the_same_elsewhere(form: Form, kind: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    needs(form)
    done = export(str(bert(tmp_path / "model", kind, labels)), form, tmp_path / "out")
    assert done.num_probes == 4
    assert done.furthest < 1e-3
    assert (tmp_path / "out" / ("model.onnx" if form == "onnx" else "model.safetensors")).is_file()


def test_another_answer_is_refused(tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ct2")
    model = t5(tmp_path / "model", vocabulary)
    right = ct2.write_ct2

    def wrong(model: T5, tokenizer: object, folder: Path) -> None:
        with torch.no_grad():
            model.decoder.norm.weight.mul_(1.5)
        right(model, tokenizer, folder)  # type: ignore[arg-type]

    monkeypatch.setattr("textfer.export.write_ct2", wrong)
    with pytest.raises(CheckpointError, match=r"^export: on probe 1 of 8 the ct2 model's numbers are off by "):
        export(str(model), "ct2", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_what_is_compared() -> None:
    ours = [Said((1, 2), torch.tensor([0.0, 20.0]))]
    assert compare(ours, [Said((1, 2), torch.tensor([0.01, 20.0]))], form="ct2") == pytest.approx(5e-4)
    with pytest.raises(CheckpointError, match=r"the ct2 model answers \[1, 3\], expected \[1, 2\]\. Nothing"):
        compare(ours, [Said((1, 3), ours[0].numbers)], form="ct2")
    with pytest.raises(CheckpointError, match=r"off by nan of the largest"):
        compare(ours, [Said((1, 2), torch.tensor([0.0, torch.nan]))], form="ct2")


def test_a_vocabulary_that_spells_in_bytes_as_json(byte_vocabulary: Path, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(byte_vocabulary)
    assert needs_json(tokenizer)
    assert not needs_json(load_tokenizer(vocabulary))
    same = Subwords(unigram_json(tokenizer))  # type: ignore[arg-type]
    texts = [*TEXTS, "  two  spaces ", "x <extra_id_0> y", "Ünïcödé\tand\nlines", ""]
    for text in texts:
        assert same.encode(text) == tokenizer.encode(text), text


def test_what_has_no_such_form_is_refused(tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = str(t5(tmp_path / "t5", vocabulary)), str(bert(tmp_path / "bert", "span"))
    monkeypatch.setattr("textfer.export.find_spec", lambda name: name)
    with pytest.raises(ConfigError, match=r"^export: --to onnx takes models that read; a T5 writes token by token\."):
        export(writer, "onnx", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"^export: CTranslate2 has no heads that read\. Take onnx\.$"):
        export(reader, "ct2", tmp_path / "out")
    one = str(t5(tmp_path / "one", vocabulary, arrangement="causal"))
    with pytest.raises(ConfigError, match=r"^export: .*one has no such form"):
        export(one, "hf", tmp_path / "out")
    monkeypatch.setattr("textfer.export.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"^export: --to ct2 needs ctranslate2\. pip install 'textfer\[export\]'$"):
        export(writer, "ct2", tmp_path / "out")
    assert not (tmp_path / "out").exists()
