"""Questions answered by a model: from a text, or from what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar, final, overload

import numpy as np

from textfer.adapt.switching import Switch
from textfer.answered import Answer as Answer
from textfer.answered import Asked as Asked
from textfer.answered import sentence_around as sentence_around
from textfer.batch import Float32
from textfer.calibration import Calibration
from textfer.choices import Choices, Normalise, Ranked, per_text
from textfer.data.tasks.squad import closed_book_inputs, squad_inputs
from textfer.documents.passages import WINDOW_SLACK, WINDOW_TOKENS, check_size, windows
from textfer.embed import Embedder, EmbedOptions
from textfer.errors import ConfigError
from textfer.generate import Decoding, Generated, Predictor
from textfer.merging import Heard, joined
from textfer.writing import Write, summaries, translations

R = TypeVar("R")
Texts: TypeAlias = list[str] | tuple[str, ...]
Adapter: TypeAlias = str | Sequence[str | None] | None
"""The changes under which the model answers: one name for all texts, or one for each; None = the model as it is."""


@final
class TextToText:
    """A loaded model. One string in gives one result; a list gives a list.

    What other runs changed of it (LoRA, adapters, prompts, some of its weights) may be put on request by request: see
    `add_adapter`. The model's own weights are in memory once. Threads may share it: without adapters they read at the
    same time, with adapters they take turns. `find` says which folder a run's name stands for, and whether an end mark
    follows what that run reads.
    """

    def __init__(
        self,
        predictor: Predictor,
        name: str,
        *,
        find: Callable[[str], tuple[Path, bool]] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.predictor = predictor
        self.name = name
        self.calibration = calibration
        """What the shares of its answers from a context mean; of the model as it is, without adapters."""
        self._find = find
        self._switch: Switch | None = None
        self._ends: dict[str, bool] = {}

    def __repr__(self) -> str:
        adapters = f", adapters {', '.join(self.adapters)}" if self.adapters else ""
        return f"TextToText({self.name!r}, {self.predictor.told()}{adapters})"

    @property
    def can(self) -> list[str]:
        """The methods that this model has something to say by: all, since whatever is asked is text; an exported one
        gives no vectors."""
        vectors = [] if self.predictor.foreign else ["embed", "embed_tokens"]
        return ["answer", "generate", "summarize", "translate", "classify", "score", *vectors]

    @property
    def adapters(self) -> list[str]:
        """Names under which changes can be put on."""
        return self._switch.names() if self._switch else []

    def add_adapter(self, name: str, path: str | Path) -> None:
        """Takes what the run `path` changed of this very model; `adapter=name` in a request then puts it on.

        Errors: ConfigError for a name that is taken; CheckpointError for changes of other weights, or whole models.
        """
        self._switch = self._switch or Switch(self.predictor.model)
        folder, ends_inputs = self._find(str(path)) if self._find else (Path(path), self.predictor.ends_inputs)
        self._switch.add(name, folder)
        self._ends[name] = ends_inputs

    def _each(self, adapter: Adapter, count: int, act: Callable[[list[int]], list[R]]) -> list[R]:
        """The results of `act` for the texts 0 … count − 1, those of one adapter together, in order."""
        names = [adapter] * count if adapter is None or isinstance(adapter, str) else list(adapter)
        if len(names) != count:
            raise ConfigError(f"adapter: got {len(names)} names for {count} texts, expected one for each.")
        if self._switch is None:
            if asked := [name for name in names if name is not None]:
                raise ConfigError(f"adapter: got '{asked[0]}', and the model has none. Add it first (add_adapter).")
            return act(list(range(count)))
        for name in set(names) - {None}:
            self._switch[str(name)]  # a name that is not there is said before any work
        found: dict[int, R] = {}
        for name in dict.fromkeys(names):
            numbers = [number for number, one in enumerate(names) if one == name]
            with self.under(name):
                found |= zip(numbers, act(numbers), strict=True)
        return [found[number] for number in range(count)]

    @contextmanager
    def under(self, adapter: str | None) -> Iterator[Predictor]:
        """The predictor as that adapter makes it, or as it is, within a `with` block; threads take turns.

        Errors: ConfigError for an adapter that is not there.
        """
        if self._switch is None:
            if adapter is not None:
                raise ConfigError(f"adapter: got '{adapter}', and the model has none. Add it first (add_adapter).")
            yield self.predictor
            return
        with self._switch.on(adapter):
            own = self.predictor.ends_inputs
            try:
                self.predictor.ends_inputs = own if adapter is None else self._ends[adapter]
                yield self.predictor
            finally:
                self.predictor.ends_inputs = own

    @overload
    def answer(
        self,
        question: str,
        *,
        context: str | None = None,
        decoding: Decoding | None = None,
        adapter: str | None = None,
        candidates: int = 0,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        question: Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
        adapter: Adapter = None,
        candidates: int = 0,
    ) -> list[Answer]: ...
    def answer(
        self,
        question: str | Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
        adapter: Adapter = None,
        candidates: int = 0,
    ) -> Answer | list[Answer]:
        """The answer to a question about `context`; from memory alone when that is None.

        Contexts of any length are read, in overlapping windows where they are longer than what models are trained on
        (see `merging` for how windows compare), unless `decoding.max_input_tokens` says where to cut them. With
        `candidates` so many of the likeliest answers are listed, one a window at most.
        Errors: ConfigError for an empty question or context, or lists of different lengths.
        """
        questions = [question] if isinstance(question, str) else list(question)
        contexts = [context] * len(questions) if context is None or isinstance(context, str) else list(context)
        if len(contexts) != len(questions):
            raise ConfigError(f"answer: got {len(questions)} questions and {len(contexts)} contexts, expected as many.")
        names = [adapter] * len(questions) if adapter is None or isinstance(adapter, str) else list(adapter)
        if len(names) != len(questions):
            raise ConfigError(f"adapter: got {len(names)} names for {len(questions)} texts, expected one for each.")
        asked = [
            self.asked(one, text, decoding, adapter=name, candidates=candidates)
            for one, text, name in zip(questions, contexts, names, strict=True)
        ]
        whose = [name for one, name in zip(asked, names, strict=True) for _ in one.texts]
        each = iter(self._made([text for one in asked for text in one.texts], decoding, whose))
        answers = [one.answer([next(each) for _ in one.texts]) for one in asked]
        return answers[0] if isinstance(question, str) else answers

    def weigh(self, question: str, contexts: Sequence[str], *, decoding: Decoding | None = None) -> list[Heard]:
        """What it says of every passage, in odds that compare across passages and are not calibrated; see `merging`."""
        return self.weigh_each([question] * len(contexts), contexts, decoding=decoding)

    def weigh_each(
        self, questions: Sequence[str], contexts: Sequence[str], *, decoding: Decoding | None = None
    ) -> list[Heard]:
        """The same of every question about its own context."""
        asked = [self.asked(one, text, decoding) for one, text in zip(questions, contexts, strict=True)]
        each = iter(self._made([text for one in asked for text in one.texts], decoding, None))
        return [joined(one.said([next(each) for _ in one.texts]), one.starts) for one in asked]

    def asked(
        self,
        question: str,
        context: str | None,
        decoding: Decoding | None = None,
        *,
        adapter: str | None = None,
        candidates: int = 0,
    ) -> Asked:
        """The question as the model reads it: once, or once for every window of a long context.

        Scores are calibrated for what was calibrated: answers from a context, not drawn, by the model without adapter.
        Errors: ConfigError for an empty question or context.
        """
        for what, value in (("question", question), ("context", context)):
            if value is not None and not value.strip():
                raise ConfigError(f"answer: the {what} is empty.")
            check_size(value or "", where=f"answer: {what}")
        parts = self._parts(question, context, decoding)
        texts = [closed_book_inputs(question) if text is None else squad_inputs(question, text) for _, text in parts]
        fitted = adapter is None and context is not None and not (decoding is not None and decoding.sample)
        return Asked(
            context=context,
            parts=tuple(parts),
            texts=tuple(texts),
            calibration=self.calibration if fitted else None,
            candidates=candidates,
            note=self._cut_off(texts[0], decoding),
        )

    def _cut_off(self, text: str, decoding: Decoding | None) -> str | None:
        """What is not read of a text that is cut."""
        limit = decoding.max_input_tokens if decoding is not None else None
        if limit is None:
            return None
        most = limit if self.predictor.max_len is None else min(limit, self.predictor.max_len)
        ends = self.predictor.ends_inputs
        count = len(self.predictor.tokenizer.encode(text)) + ends
        if count <= most:
            return None
        which = "first" if ends else "last"
        return f"read the {which} {most - ends:,} of {count - ends:,} tokens, the question's among them"

    def _parts(self, question: str, context: str | None, decoding: Decoding | None) -> list[tuple[int, str | None]]:
        """(where it begins, text) of every window."""
        cut_off = decoding is not None and decoding.max_input_tokens is not None
        if context is None or cut_off or len(context) <= WINDOW_TOKENS:
            return [(0, context)]
        tokenizer, most = self.predictor.tokenizer, self.predictor.max_len
        beside = len(tokenizer.encode(squad_inputs(question, ""))) + WINDOW_SLACK + 1
        size = WINDOW_TOKENS if most is None else min(WINDOW_TOKENS, most - beside - WINDOW_SLACK)
        cut = windows(context, tokenizer, size=max(size, 1))
        return [(start, context[start:end]) for start, end in cut]

    @overload
    def generate(self, text: str, *, decoding: Decoding | None = None, adapter: str | None = None) -> str: ...
    @overload
    def generate(self, text: Texts, *, decoding: Decoding | None = None, adapter: Adapter = None) -> list[str]: ...
    def generate(
        self, text: str | Texts, *, decoding: Decoding | None = None, adapter: Adapter = None
    ) -> str | list[str]:
        """What the model writes after the text, prefix words and all."""
        made = self._made([text] if isinstance(text, str) else list(text), decoding, adapter)
        return made[0].text if isinstance(text, str) else [one.text for one in made]

    @overload
    def summarize(
        self, text: str, *, prefix: str = ..., decoding: Decoding | None = None, adapter: str | None = None
    ) -> str: ...
    @overload
    def summarize(
        self, text: Texts, *, prefix: str = ..., decoding: Decoding | None = None, adapter: Adapter = None
    ) -> list[str]: ...
    def summarize(
        self,
        text: str | Texts,
        *,
        prefix: str = "summarize: ",
        decoding: Decoding | None = None,
        adapter: Adapter = None,
    ) -> str | list[str]:
        """A summary of the text, by a model that learnt to write one after `prefix`.

        Of a text that is longer than models read at once the summary of its parts' summaries, unless
        `decoding.max_input_tokens` says where to cut it; by four beams unless `decoding` says otherwise.
        Errors: ConfigError for an empty text. Warns where a summary was cut off at `max_new_tokens`.
        """
        texts = [text] if isinstance(text, str) else list(text)
        write = self._writes(adapter, len(texts))
        found = summaries(texts, write, self.predictor, prefix=prefix, decoding=decoding)
        return found[0] if isinstance(text, str) else found

    @overload
    def translate(
        self,
        text: str,
        *,
        source: str = ...,
        target: str = ...,
        decoding: Decoding | None = None,
        adapter: str | None = None,
    ) -> str: ...
    @overload
    def translate(
        self,
        text: Texts,
        *,
        source: str = ...,
        target: str = ...,
        decoding: Decoding | None = None,
        adapter: Adapter = None,
    ) -> list[str]: ...
    def translate(
        self,
        text: str | Texts,
        *,
        source: str = "English",
        target: str = "German",
        decoding: Decoding | None = None,
        adapter: Adapter = None,
    ) -> str | list[str]:
        """The text in another language, by a model that learnt it after T5's `translate English to German: `.

        Texts of any length are translated sentence by sentence, as models learn it, with the white space between
        sentences as it was; whole where `decoding.max_input_tokens` is given. By four beams unless `decoding` says
        otherwise. Errors: ConfigError for an empty text. Warns where a sentence was cut off at `max_new_tokens`.
        """
        texts = [text] if isinstance(text, str) else list(text)
        write = self._writes(adapter, len(texts))
        found = translations(texts, write, self.predictor, languages=(source, target), decoding=decoding)
        return found[0] if isinstance(text, str) else found

    def _writes(self, adapter: Adapter, count: int) -> Write:
        """Writes under the adapter of the text that a part belongs to."""
        names = [adapter] * count if adapter is None or isinstance(adapter, str) else list(adapter)
        if len(names) != count:
            raise ConfigError(f"adapter: got {len(names)} names for {count} texts, expected one for each.")

        def write(texts: list[str], whose: list[int], decoding: Decoding) -> list[Generated]:
            return self._made(texts, decoding, [names[number] for number in whose])

        return write

    def _made(self, texts: Sequence[str], decoding: Decoding | None, adapter: Adapter) -> list[Generated]:
        def act(numbers: list[int]) -> list[Generated]:
            return self.predictor.generate([texts[number] for number in numbers], decoding)

        return self._each(adapter, len(texts), act)

    @overload
    def score(self, text: str, targets: Texts, *, adapter: str | None = None) -> list[float]: ...
    @overload
    def score(self, text: Texts, targets: Sequence[Texts], *, adapter: Adapter = None) -> list[list[float]]: ...
    def score(
        self, text: str | Texts, targets: Texts | Sequence[Texts], *, adapter: Adapter = None
    ) -> list[float] | list[list[float]]:
        """The natural log of each target's probability after its text."""
        texts, wanted = ([text], [targets]) if isinstance(text, str) else (text, targets)
        lists: list[list[str]] = []
        for some in wanted:
            if isinstance(some, str) or not all(isinstance(target, str) for target in some):
                raise ConfigError("score: got targets of another shape, expected one list of texts for each text.")
            lists.append([str(target) for target in some])
        if len(texts) != len(lists):
            raise ConfigError(f"score: got {len(texts)} texts and {len(lists)} lists of targets, expected as many.")

        def act(numbers: list[int]) -> list[list[float]]:
            return self.predictor.score([texts[number] for number in numbers], [lists[number] for number in numbers])

        scores = self._each(adapter, len(texts), act)
        return scores[0] if isinstance(text, str) else scores

    @overload
    def classify(
        self, text: str, *, choices: Sequence[str], normalise: Normalise = "none", adapter: str | None = None
    ) -> Ranked: ...
    @overload
    def classify(
        self, text: Texts, *, choices: Choices, normalise: Normalise = "none", adapter: Adapter = None
    ) -> list[Ranked]: ...
    def classify(
        self, text: str | Texts, *, choices: Choices, normalise: Normalise = "none", adapter: Adapter = None
    ) -> Ranked | list[Ranked]:
        """The likeliest of the choices after the text, prefix words and all, and the share of every one.

        A list of texts takes the same choices for all, or one list for each. `normalise`: see `choices.normalised`.
        Errors: ConfigError for a text without choices, or a choice that stands twice.
        """
        texts = [text] if isinstance(text, str) else list(text)
        lists = per_text(choices, len(texts), where="classify")

        def act(numbers: list[int]) -> list[Ranked]:
            some = [texts[number] for number in numbers]
            return self.predictor.rank(some, [lists[number] for number in numbers], normalise=normalise)

        found = self._each(adapter, len(texts), act)
        return found[0] if isinstance(text, str) else found

    def embed(self, text: str | Texts, *, options: EmbedOptions | None = None, adapter: Adapter = None) -> Float32:
        """[D] the text as a vector, of what reads it; of several [E, D], in their order. Long texts lose their end."""
        texts = [text] if isinstance(text, str) else list(text)
        found = self._each(
            adapter,
            len(texts),
            lambda numbers: list(self._embedder(options).vectors([texts[number] for number in numbers])),
        )
        return np.stack(found)[0 if isinstance(text, str) else slice(None)] if found else np.zeros((0, 0), np.float32)

    def embed_tokens(
        self, text: str, *, options: EmbedOptions | None = None, adapter: str | None = None
    ) -> tuple[list[str], Float32]:
        """(the pieces of a text with its marks, [L, D] what the model makes of each)"""
        return self._each(adapter, 1, lambda _: [self._embedder(options).embed_tokens(text)])[0]

    def _embedder(self, options: EmbedOptions | None) -> Embedder:
        return Embedder(self.predictor.model, self.predictor.tokenizer, options)
