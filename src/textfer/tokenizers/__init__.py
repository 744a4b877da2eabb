"""Text in, ids out, and back: SentencePiece, bytes, and what the `tokenizers` library reads; and training."""

from textfer.tokenizers.base import Kind, Piece, Tokenizer, inspect
from textfer.tokenizers.byte import Bytes
from textfer.tokenizers.hub import Subwords, load_tokenizer
from textfer.tokenizers.pieces import SentencePiece

__all__ = ["Bytes", "Kind", "Piece", "SentencePiece", "Subwords", "Tokenizer", "inspect", "load_tokenizer"]
