"""What any network must keep to, whatever it is made of.

Letters: B rows, L tokens of a row, M tokens that count, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Ids, Int32, Loss, Side, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.models import MODELS, Generator, Model, load_model
from textfer.training.loss import loss_of

SPECIALS = Specials(pad=0, eos=1, cls=2, sep=3)
FIRST_ID = 4
ROOMY = Lens(40, 40)
CLOSE = 1e-4
"""How near two ways to the same numbers must be, as a share of the largest of them."""
HIGH_DROPOUT = 0.5
NO_SUCH_OPTION = "no_such_option"


def check_model(
    name: str,
    options: Mapping[str, Any],
    folder: Path,
    *,
    vocab_size: int = 40,
    heads: Mapping[str, int] | None = None,
) -> None:
    """Checks the registered model of that name, made small by `options`. `heads`: number of classes of heads it has.

    Checked: the same seed draws the same weights; what is saved into `folder` loads with the same numbers; `depth`
    names every parameter once; packed rows lose what their examples lose alone, and padding changes nothing; all forms
    of attention agree; `forward` says what `states` says; every parameter learns; dropout rests in `eval`; a text
    beyond `max_len`, an unknown option and a folder without weights are refused in one line; and of a model that
    writes, token by token is the whole pass.

    Errors: AssertionError that says what is wrong.
    """
    family = MODELS.get(name)
    options = {**options, **({"dropout": 0.0} if "dropout" in family.options_class.model_fields else {})}

    def make(**changed: Any) -> Model:
        torch.manual_seed(1)
        return family.make({**options, **changed}, vocab_size=vocab_size).eval()

    model, at = make(), f"model {name}"
    assert same(numbers(model), numbers(make())), f"{at}: the same seed draws other weights"
    refused(lambda: make(**{NO_SUCH_OPTION: 1}), ConfigError, f"{at}: an unknown option")
    examples = trial_examples(model, heads or {})
    _check_files(model, examples, folder, at)
    named = [one for group in model.depth() for one in group]
    assert sorted(named) == sorted(numbers(model)), f"{at}: depth() names {_unlike(named, numbers(model))}"
    reference: Loss | None = None
    for form in _forms(model):
        found = _check_rows(model, examples, f"{at}, attention {form}")
        if reference is not None:
            assert near(found.sum, reference.sum), f"{at}: attention {form} loses {found.sum}, not {reference.sum}"
        reference = found
    _check_learning(model, examples, at)
    if "dropout" in family.options_class.model_fields:
        _check_dropout(model, make(dropout=HIGH_DROPOUT), examples, at)
    _check_length(model, heads or {}, at)
    if hasattr(model, "begin"):
        check_writing(model, at)


def trial_examples(model: Model, heads: Mapping[str, int], *, longest: int = 9, count: int = 4) -> list[Ids]:
    """`count` examples of random ids, of different lengths, as the model's layout takes them."""
    draws = np.random.default_rng(0)
    in_place = LAYOUTS[model.layout].answers == "in place"
    found = []
    for number in range(count):
        inputs = random_ids(draws, model, int(draws.integers(2, longest)))
        targets = random_ids(draws, model, len(inputs) if in_place else int(draws.integers(2, longest)))
        if LAYOUTS[model.layout].answers == "by heads":
            targets = targets[:0]
        told = {name: int(draws.integers(classes)) for name, classes in heads.items()}
        found.append(Ids(inputs, targets, origin=f"trial:{number}", heads=told))
    return found


def random_ids(draws: np.random.Generator, model: Model, length: int) -> Int32:
    """[length] ids that are no marks."""
    return draws.integers(FIRST_ID, model.vocab_size, length).astype(np.int32)


def trial_batch(model: Model, rows: Sequence[Sequence[Ids]], *, lens: Lens | None = None) -> Batch:
    """The rows in the model's layout; padded to `lens` where they are given."""
    return LAYOUTS[model.layout].arrange(rows, lens or ROOMY, SPECIALS, fixed=lens is not None)


def said(model: Model, batch: Batch) -> Tensor:
    """[M, V] logits of the tokens that count; where a model names no tokens its heads' numbers, or else its states."""
    with torch.no_grad():
        if batch.targets is not None:
            return F.linear(model.states(batch)[0], *model.readout())
        out = model(batch)
        if batch.heads:
            return torch.cat([out.heads[name].flatten() for name in batch.heads])
        assert batch.encoder is not None, "a model that names no tokens reads the encoder's side"
        assert out.hidden is not None, "a model without words or heads gives states"
        return out.hidden[batch.encoder.segments > 0]


def _loss(model: Model, batch: Batch) -> Loss:
    """The batch's loss; zero of a model that says nothing by itself."""
    if batch.targets is None and not batch.heads:
        return Loss(torch.zeros(()), torch.zeros(()))
    return loss_of(model, batch)


def _logits(model: Model, batch: Batch) -> Tensor:
    logits = model(batch).logits
    assert logits is not None, "forward gives no logits, and states gives tokens"
    return logits


def check_writing(model: Model, at: str) -> None:
    """Rows of different lengths, written token by token: the logits are those of the whole pass over each alone."""
    writer, draws = cast(Generator, model), np.random.default_rng(2)
    read = [random_ids(draws, model, length) for length in (5, 2)]
    written = random_ids(draws, model, 6)
    with torch.no_grad():
        whole = [_logits(model, trial_batch(model, [[Ids(ids, written)]]))[0, -len(written) :] for ids in read]
        start = trial_batch(model, [[Ids(ids, np.array([SPECIALS.pad], np.int32))] for ids in read])
        cache = writer.begin(Batch(encoder=start.encoder) if start.encoder else start)
        steps = [] if cache.logits is None else [cache.logits]
        tokens = np.concatenate([[SPECIALS.pad] if cache.logits is None else [], written[:-1]])
        steps += [writer.step(torch.full((len(read), 1), int(token)), cache) for token in tokens]
        for row, expected in enumerate(whole):
            got = torch.stack([step[row] for step in steps])
            assert near(got, expected), f"{at}: token by token row {row} says other than the whole pass"


def _check_files(model: Model, examples: Sequence[Ids], folder: Path, at: str) -> None:
    model.save(folder)
    again = load_model(folder).eval()
    assert type(again) is type(model), f"{at}: its file loads as a {type(again).__name__}; see model_types"
    assert same(numbers(again), numbers(model)), f"{at}: loaded weights are not those that were saved"
    batch = trial_batch(model, [examples])
    assert torch.equal(said(again, batch), said(model, batch)), f"{at}: the same weights say something else once loaded"
    assert again.layout == model.layout, f"{at}: its layout is {again.layout} once loaded, not {model.layout}"
    for file in folder.glob("*.safetensors"):
        file.unlink()
    refused(lambda: load_model(folder), CheckpointError, f"{at}: a folder without weights")


def _check_rows(model: Model, examples: Sequence[Ids], at: str) -> Loss:
    """The loss of all examples, which is the same however they lie in rows."""
    alone = [trial_batch(model, [[one]]) for one in examples]
    packed = trial_batch(model, [examples[:1], examples[1:3], examples[3:]])
    padded = trial_batch(model, [[one] for one in examples], lens=ROOMY)
    rows = torch.cat([said(model, batch) for batch in alone])
    losses = [_loss(model, batch) for batch in alone]
    total = Loss(torch.stack([one.sum for one in losses]).sum(), torch.stack([one.count for one in losses]).sum())
    for what, batch in (("packed", packed), ("padded", padded), ("padding of other ids", _other_padding(padded))):
        assert near(said(model, batch), rows), f"{at}: {what} examples say other than alone"
        loss = _loss(model, batch)
        assert near(loss.sum, total.sum), f"{at}: {what} examples lose {loss.sum}, {total.sum} alone"
        assert near(loss.count, total.count), f"{at}: {what} examples count as {loss.count}, {total.count} alone"
    # one that names a token from each side has no one row of logits for it
    if packed.targets is not None and packed.weights is not None and len(rows) == int((packed.weights > 0).sum()):
        with torch.no_grad():
            logits = _logits(model, packed)
        assert logits.shape == (*packed.targets.shape, model.vocab_size), f"{at}: logits are {list(logits.shape)}"
        assert near(logits[packed.weights > 0], rows), f"{at}: forward and states disagree"
    return total


def _other_padding(batch: Batch) -> Batch:
    """The same batch with another id wherever nothing stands."""

    def side(part: Side | None) -> Side | None:
        if part is None:
            return None
        return replace(part, ids=torch.where(part.segments > 0, part.ids, FIRST_ID))

    return replace(batch, encoder=side(batch.encoder), decoder=side(batch.decoder))


def _check_learning(model: Model, examples: Sequence[Ids], at: str) -> None:
    batch = trial_batch(model, [examples])
    if batch.targets is None and not batch.heads:
        return
    for form in _forms(model):
        cast(nn.Module, model).zero_grad()
        torch.autograd.backward(loss_of(model, batch).sum)
        for name, weight in model.named_parameters():
            place = f"{at}, attention {form}: {name}"
            assert weight.grad is not None, f"{place} gets no gradient; name the head that learns it in `heads`"
            assert torch.isfinite(weight.grad).all(), f"{place} gets a gradient that is no number"
            assert weight.dim() == 1 or weight.grad.abs().sum() > 0, f"{place} gets a gradient of zero"
    cast(nn.Module, model).zero_grad()


def _check_dropout(plain: Model, dropping: Model, examples: Sequence[Ids], at: str) -> None:
    batch = trial_batch(plain, [examples])
    assert torch.equal(said(dropping, batch), said(plain, batch)), f"{at}: dropout does not rest in eval"
    dropping.train()
    assert not near(said(dropping, batch), said(plain, batch)), f"{at}: dropout does nothing in train"


def _check_length(model: Model, heads: Mapping[str, int], at: str) -> None:
    longest = model.max_len
    if longest is None:
        return
    kind = LAYOUTS[model.layout]
    (example,) = trial_examples(model, heads, count=1)
    draws = np.random.default_rng(1)

    def of_length(length: int) -> Batch:
        inputs = random_ids(draws, model, length - (len(example.targets) if kind.together else 0))
        targets = inputs if kind.answers == "in place" else example.targets
        long = Ids(inputs, targets, origin=example.origin, heads=example.heads)
        return LAYOUTS[model.layout].arrange([[long]], Lens(length, length), SPECIALS)

    said(model, of_length(longest))
    message = refused(lambda: said(model, of_length(longest + 1)), DataError, f"{at}: a text beyond max_len")
    assert example.origin in message, f"{at}: the refusal of a long text does not name the text: {message}"


def _forms(model: Model) -> Iterator[str]:
    """Each form of attention that it has, set while the form is looked at; then its own choice again."""
    if not hasattr(model, "attention"):
        yield "as it is"
        return
    before = model.attention
    try:
        for form in ("ragged", "dense"):
            model.attention = form
            yield form
    finally:
        model.attention = before


def refused(act: Callable[[], object], kind: type[Exception], what: str) -> str:
    """The one line in which something is refused."""
    try:
        act()
    except Exception as error:
        message = f"{error}"
        if not isinstance(error, kind):
            raise AssertionError(f"{what} ends in a {type(error).__name__}, not in a {kind.__name__}") from error
    else:
        raise AssertionError(f"{what} is not refused by a {kind.__name__}")
    assert "\n" not in message, f"{what} is refused in more than one line: {message}"
    return message


def numbers(model: Model) -> dict[str, Tensor]:
    """A copy of all parameters."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same names and the same numbers, bit for bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def near(ours: Tensor, theirs: Tensor) -> bool:
    """Whether no number differs by more than rounding explains."""
    scale = 1.0 + theirs.detach().abs().max().item()
    return ours.shape == theirs.shape and bool((ours - theirs).detach().abs().max() <= CLOSE * scale)


def _unlike(named: Sequence[str], wanted: Mapping[str, Tensor]) -> str:
    twice = sorted({one for one in named if named.count(one) > 1})
    lacking, unknown = sorted(wanted.keys() - set(named)), sorted(set(named) - wanted.keys())
    return f"twice {twice}, not {lacking}, and unknown ones {unknown}"
