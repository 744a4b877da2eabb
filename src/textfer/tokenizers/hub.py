"""Tokenizer files: which of them a folder holds, and those that the `tokenizers` library reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, normalizers, pre_tokenizers

from textfer.batch import Borders, Int32, Specials
from textfer.errors import CheckpointError, ConfigError
from textfer.tokenizers.base import (
    NUM_SENTINELS,
    ROW_MULTIPLE,
    Kind,
    Piece,
    Places,
    TokenIds,
    Tokenizer,
    before_end,
    borders_of,
    listed,
    refuse,
    trimmed,
    write_files,
)
from textfer.tokenizers.byte import Bytes
from textfer.tokenizers.pieces import SentencePiece

_USUAL_NAMES = {
    "pad": ("<pad>", "[PAD]"),
    "eos": ("</s>", "<|endoftext|>", "<eos>", "[SEP]"),
    "unk": ("<unk>", "[UNK]"),
    "bos": ("<s>", "<bos>", "<|startoftext|>"),
    "mask": ("<mask>", "[MASK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
}
_SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "sentencepiece.model")
_CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json")


@final
class Subwords:
    """A vocabulary of the `tokenizers` library: WordPiece (BERT), byte-level BPE (GPT-2), or any `tokenizer.json`.

    Special tokens written in a text (`[MASK]`, `<|endoftext|>`) become their ids, as they do in `transformers`.
    Rows are as many as ids, rounded up where the vocabulary has sentinels. `names` are a hub
    config's: `eos_token` and the like.
    """

    def __init__(self, content: str, *, names: Mapping[str, str] | None = None, name: str = "tokenizer.json") -> None:
        self.content = content
        """The `tokenizer.json`."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                f"{name}: is no tokenizer.json ({_first_line(error)}). Copy the file again."
            ) from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.names = dict(names or {})
        num_ids = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self._num_ids = max(num_ids, 1 + max(self._tokenizer.get_vocab().values(), default=0))
        self.specials = self._find_specials(name)
        multiple = ROW_MULTIPLE if len(self.specials.sentinels) else 1
        self.vocab_size = -(-self._num_ids // multiple) * multiple
        marks = {mark: getattr(self.specials, mark) for mark in _USUAL_NAMES}
        decisive = {"tokenizer": {**json.loads(content), "truncation": None, "padding": None}, "specials": marks}
        self.digest = sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        self._sentinel_of = {int(i): n for n, i in enumerate(self.specials.sentinels)}
        self._special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}

        words = {} if isinstance(self._tokenizer.model, models.WordPiece) else self._tokenizer.get_vocab()
        blank = [i for word, i in words.items() if word and not word.strip("▁")]
        self._blank = np.isin(np.arange(self._num_ids), blank) if blank else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _subwords, (self.content, self.names)

    @classmethod
    def wordpiece(
        cls, vocab: Path, *, lowercase: bool | None = None, names: Mapping[str, str] | None = None
    ) -> Subwords:
        """BERT's WordPiece over a `vocab.txt`. `lowercase` None: as the vocabulary itself has it."""
        words = {word: i for i, word in enumerate(_read(vocab).decode(errors="replace").splitlines())}
        if "[UNK]" not in words or "[SEP]" not in words:
            raise CheckpointError(f"{vocab}: lacks [UNK] or [SEP], expected a WordPiece vocabulary, one piece a line.")
        if lowercase is None:
            lowercase = not any(word != word.lower() for word in words if not word.startswith("["))
        tokenizer = tokenizers.Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        tokenizer.add_special_tokens([word for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if word in words])
        return cls(tokenizer.to_str(), names=names, name=str(vocab))

    @classmethod
    def byte_bpe(cls, vocab: Path, *, merges: Path, names: Mapping[str, str] | None = None) -> Subwords:
        """GPT-2's byte-level BPE over a `vocab.json` and a `merges.txt`."""
        try:
            tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                f"{vocab}, {merges.name}: no byte-level BPE ({_first_line(error)}). Copy the files again."
            ) from None
        if missing := sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(tokenizer.get_vocab())):
            found = f"lacks {len(missing)} of the 256 byte characters"
            raise CheckpointError(f"{vocab}: {found}, expected a byte-level BPE such as GPT-2's.")
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([word for word in _USUAL_NAMES["eos"] if tokenizer.token_to_id(word) is not None])
        return cls(tokenizer.to_str(), names=names, name=str(vocab))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without an end mark. Errors: DataError where the text is not valid Unicode."""
        return self._encode([text])[0].ids

    def encode_many(self, texts: Sequence[str]) -> list[Int32]:
        """The same for many texts at once, on all cores."""
        return [np.array(encoding.ids, np.int32) for encoding in self._encode(texts)]

    def encode_places(self, text: str) -> tuple[Int32, Places]:
        """The ids and the place of each token in the text; that of an unknown word is the whole word."""
        return self.encode_places_many([text])[0]

    def encode_places_many(self, texts: Sequence[str]) -> list[tuple[Int32, Places]]:
        """The same for many texts at once, on all cores."""
        found = []
        for text, encoding in zip(texts, self._encode(texts), strict=True):
            ids = np.array(encoding.ids, np.int32)
            places = trimmed(text, np.array(encoding.offsets, np.int64).reshape(-1, 2))
            if self._blank is not None:  # the space put before a text is said to stand where the first character does
                places[:, 1] = np.where(self._blank[ids], places[:, 0], places[:, 1])
            found.append((ids, places))
        return found

    def decode(self, ids: TokenIds) -> str:
        """The text up to the first end mark, without padding, start and class marks."""
        dropped = {self.specials.cls, self.specials.bos}
        kept = [i for i in before_end(ids, self.specials).tolist() if i not in dropped and i < self._num_ids]
        return self._tokenizer.decode(kept, skip_special_tokens=False)

    def pieces(self, ids: TokenIds) -> list[str]:
        """The name of each id, as the vocabulary file writes it."""
        return [self._tokenizer.id_to_token(i) or f"<row_{i}>" for i in listed(ids)]

    def inspect(self, text: str) -> list[Piece]:
        """The tokens of a text with their ids and kinds."""
        encoding = self._encode([text])[0]
        found = []
        for i, token, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
            kind = self._kind(i, token)
            found.append(Piece(text[start:end] if kind == "unknown" else token, i, kind))
        return found

    def normalise(self, text: str) -> str:
        """The text as the vocabulary sees it, before it is cut into words."""
        normaliser = self._tokenizer.normalizer
        return normaliser.normalize_str(text) if normaliser else text

    def save(self, directory: Path) -> None:
        """Writes `tokenizer.json` and a `tokenizer_config.json` in the hub's form; of BERT's kind a `vocab.txt` too."""
        config: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", **self.names}
        for mark in ("pad", "eos", "unk", "bos", "mask", "cls", "sep"):
            if (i := getattr(self.specials, mark)) is not None:
                config.setdefault(f"{mark}_token", self._tokenizer.id_to_token(i) or "")
        files: dict[str, bytes | Mapping[str, object]] = {"tokenizer.json": self.content.encode()}
        normaliser = json.loads(self.content).get("normalizer") or {}
        if isinstance(self._tokenizer.model, models.WordPiece) and normaliser.get("type") == "BertNormalizer":
            names = {"lowercase": "do_lower_case", "strip_accents": "strip_accents"}
            config |= {"tokenizer_class": "BertTokenizer"} | {names[key]: normaliser.get(key) for key in names}
            words = self._tokenizer.get_vocab()
            if sorted(words.values()) == list(range(len(words))):
                files["vocab.txt"] = "".join(f"{word}\n" for word in sorted(words, key=words.__getitem__)).encode()
        write_files(directory, files | {"tokenizer_config.json": config})

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        try:
            return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            refuse(texts)

    def _kind(self, i: int, token: str) -> Kind:
        if i == self.specials.unk:
            return "unknown"
        if i in self._sentinel_of:
            return "sentinel"
        if i in self._special:
            return "special"
        return "byte" if len(token) == 6 and token.startswith("<0x") and token.endswith(">") else "known"

    def _find_specials(self, name: str) -> Specials:
        def find(mark: str) -> int | None:
            said = self.names.get(f"{mark}_token")
            found = map(self._tokenizer.token_to_id, [said] if said else _USUAL_NAMES[mark])
            return next((i for i in found if i is not None), None)

        ids = {mark: find(mark) for mark in _USUAL_NAMES}
        if (eos := ids["eos"]) is None:
            usual = ", ".join(_USUAL_NAMES["eos"])
            raise CheckpointError(
                f"{name}: has no end token, expected one of {usual}, or the `eos_token` of a tokenizer_config.json."
            )
        sentinels: list[int] = []
        while (i := self._tokenizer.token_to_id(f"<extra_id_{len(sentinels)}>")) is not None:
            sentinels.append(i)
        return Specials(
            pad=eos if ids["pad"] is None else ids["pad"],
            eos=eos,
            unk=ids["unk"],
            bos=ids["bos"],
            mask=ids["mask"],
            cls=ids["cls"],
            sep=ids["sep"],
            sentinels=np.array(sentinels, np.int32),
            num_ids=self._num_ids,
            inside=self._inside(),
            borders=self._borders(),
        )

    def _borders(self) -> Borders | None:
        """From the mark before pieces that go on with a word, or that begin one."""
        words = [""] * self._num_ids
        for word, i in self._tokenizer.get_vocab().items():
            words[i] = word
        model = self._tokenizer.model
        if isinstance(model, models.WordPiece):  # spaces are lost, so that `1 . 5` and `. "` could be either
            return borders_of(words, [bool(word) and (word[0].isalpha() or word[0] in "“‘«([„¿¡") for word in words])
        mark = next((mark for mark in ("▁", "Ġ") if any(word.startswith(mark) for word in words)), None)
        if mark is None:
            return None
        return borders_of([word.lstrip(mark) for word in words], [word.startswith((mark, "Ċ")) for word in words])

    def _inside(self) -> NDArray[np.bool_] | None:
        """[ids] whether a WordPiece goes on with a word; other kinds of vocabularies do not tell."""
        model = self._tokenizer.model
        if not isinstance(model, models.WordPiece):
            return None
        found = np.zeros(self._num_ids, np.bool_)
        prefix = model.continuing_subword_prefix
        found[[i for word, i in self._tokenizer.get_vocab().items() if word.startswith(prefix)]] = True
        return found


def _subwords(content: str, names: Mapping[str, str]) -> Subwords:
    return Subwords(content, names=names)


def load_tokenizer(name_or_path: str | Path) -> Tokenizer:
    """The tokenizer of that name or place.

    That is `bytes`, a folder (a hub model's, a run's, one that `save` wrote), a SentencePiece `.model` file, a
    `tokenizer.json`, a `vocab.txt` (WordPiece), or a `vocab.json` with `merges.txt` beside it.

    Of a folder the SentencePiece model is taken if it has one: it is the truth that a `tokenizer.json` imitates.

    Errors: ConfigError where nothing is there; CheckpointError where it is no tokenizer, or a broken one.
    """
    path = Path(name_or_path)
    if str(name_or_path) == "bytes":
        return Bytes()
    if path.is_dir():
        return _load_folder(path / "tokenizer" if (path / "tokenizer").is_dir() else path)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder, expected a tokenizer or the name 'bytes'. Check the path.")
    return _load_file(path, names={})


def _load_folder(folder: Path) -> Tokenizer:
    config = _read_config(folder)
    if config.get("tokenizer_class") == "ByT5Tokenizer":
        # A folder that does not say was not written by us: ByT5's own, pre-trained with the final bytes as sentinels.
        return Bytes(sentinels="extra" if config.get("sentinels") == "extra" else "final_bytes")
    names = {key: word for key, word in config.items() if key.endswith("_token") and isinstance(word, str)}
    candidates = [*_SENTENCEPIECE_FILES, *sorted(path.name for path in folder.glob("*.model"))]
    if found := next((folder / name for name in candidates if (folder / name).is_file()), None):
        tokenizer = SentencePiece(_read(found), num_sentinels=_num_sentinels(config, folder), name=str(found))
        _check_added_tokens(folder, config, tokenizer)
        return tokenizer
    for name in ("tokenizer.json", "vocab.txt", "vocab.json"):
        if (folder / name).is_file():
            return _load_file(folder / name, names=names, config=config)
    expected = "spiece.model, tokenizer.json, vocab.txt, or vocab.json with merges.txt"
    raise CheckpointError(
        f"{folder}: no tokenizer in this folder, expected {expected}. Copy them from the model's source."
    )


def _load_file(path: Path, *, names: Mapping[str, str], config: Mapping[str, Any] | None = None) -> Tokenizer:
    if path.suffix == ".model":
        return SentencePiece(_read(path), name=str(path))
    if path.suffix == ".txt":
        return Subwords.wordpiece(path, lowercase=(config or {}).get("do_lower_case"), names=names)
    if path.suffix == ".json" and (merges := path.with_name("merges.txt")).is_file() and path.name != "tokenizer.json":
        return Subwords.byte_bpe(path, merges=merges, names=names)
    if path.suffix == ".json":
        return Subwords(_read(path).decode(errors="replace"), names=names, name=str(path))
    expected = "a .model, tokenizer.json, vocab.txt or vocab.json file"
    raise CheckpointError(f"{path}: not a tokenizer, expected {expected}.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). Check the file.") from None


def _read_config(folder: Path) -> dict[str, Any]:
    """What the hub's small files say; of a token written as a table, its text."""
    merged: dict[str, Any] = {}
    for path in (folder / name for name in _CONFIG_FILES):
        if path.is_file():
            values = _read_table(path)
            merged = {key: v.get("content", v) if isinstance(v, dict) else v for key, v in values.items()} | merged
    return merged


def _read_table(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(_read(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: is no JSON ({error}). Copy the file again.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: got a {type(values).__name__}, expected a JSON object. Copy the file again.")
    return values


def _num_sentinels(config: Mapping[str, Any], folder: Path) -> int:
    number = config.get("extra_ids", NUM_SENTINELS)
    if not isinstance(number, int) or not 0 <= number <= 10_000:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'}: extra_ids is {number!r}, expected a number of sentinels."
        )
    return number


def _check_added_tokens(folder: Path, config: Mapping[str, Any], tokenizer: SentencePiece) -> None:
    """CheckpointError where the folder gives a token an id that the SentencePiece model does not give it."""
    added = {}
    if (path := folder / "added_tokens.json").is_file():
        added = {int(i): token for token, i in _read_table(path).items()}
    for i, token in config.get("added_tokens_decoder", {}).items():
        added[int(i)] = token["content"] if isinstance(token, dict) else token
    for i, token in sorted(added.items()):
        known = tokenizer.pieces([i])[0]
        if known.removeprefix("▁") != str(token).removeprefix("▁"):
            got = f"got added token {token!r} with id {i}, which is {known!r} in the SentencePiece model"
            raise CheckpointError(f"{folder}: {got}. Remove the files of the added tokens, or load its tokenizer.json.")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
