"""Text in, ids out, and back: SentencePiece, bytes, and what the `tokenizers` library reads; and training."""

from textfer.tokenizers.base import Kind, Piece, Places, Tokenizer, inspect
from textfer.tokenizers.byte import Bytes
from textfer.tokenizers.hub import Subwords, load_tokenizer
from textfer.tokenizers.pieces import SentencePiece
from textfer.tokenizers.training import Coverage, Report, TokenizerOptions, measure, train_sentencepiece
from textfer.tokenizers.wordpiece import WordPieceOptions, train_wordpiece

__all__ = [
    "Bytes",
    "Coverage",
    "Kind",
    "Piece",
    "Places",
    "Report",
    "SentencePiece",
    "Subwords",
    "Tokenizer",
    "TokenizerOptions",
    "WordPieceOptions",
    "inspect",
    "load_tokenizer",
    "measure",
    "train_sentencepiece",
    "train_wordpiece",
]
