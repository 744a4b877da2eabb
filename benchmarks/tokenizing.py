"""Is Textfer's SentencePiece tokenizer as fast as SentencePiece? One JSON line for each question and side.

    python benchmarks/tokenizing.py --data DIR [--megabytes 3] [--repeats 7]

Reads DIR/text/wikipedia_en/*.parquet and DIR/tokenizers/t5/spiece.model. Both sides take the same texts, in turns, in
one process; the value is the median, the spread the range from the first to the third quartile. Ids are compared first.
"t5x" is SentencePiece with the 100 sentinels among its pieces, as the T5 reference uses it (made through protobuf).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from rounds import measure, row
from textfer.tokenizers import load_tokenizer


def read_texts(folder: Path, *, num_bytes: int) -> Iterator[str]:
    """Articles, until they are `num_bytes` together."""
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=["text"]):
            for text in batch.column("text").to_pylist():
                yield text
                num_bytes -= len(text.encode())
                if num_bytes <= 0:
                    return


def t5x_processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece's processor with T5's sentinels."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for number in reversed(range(100)):
        proto.pieces.add(piece=f"▁<extra_id_{number}>", score=0.0, type=4)
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("TEXTFER_DATA"), required="TEXTFER_DATA" not in os.environ
    )
    parser.add_argument("--megabytes", type=float, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    model = args.data / "tokenizers" / "t5" / "spiece.model"
    ours, theirs = load_tokenizer(model), sentencepiece.SentencePieceProcessor(model_file=str(model))
    t5x = t5x_processor(model.read_bytes())
    texts = list(read_texts(args.data / "text" / "wikipedia_en", num_bytes=int(args.megabytes * 1e6)))
    lines = [line for text in texts for line in text.split("\n") if line]
    same = [ids.tolist() for ids in ours.encode_many(texts)] == theirs.encode(texts)
    assert same, "the ids differ"

    questions: dict[str, dict[str, Callable[[], object]]] = {
        "documents one by one": {
            "textfer": lambda: [ours.encode(text) for text in texts],
            "t5x": lambda: [t5x.encode(text) for text in texts],
            "sentencepiece": lambda: [theirs.encode(text) for text in texts],
        },
        "lines one by one": {
            "textfer": lambda: [ours.encode(line) for line in lines],
            "t5x": lambda: [t5x.encode(line) for line in lines],
            "sentencepiece": lambda: [theirs.encode(line) for line in lines],
        },
        "documents at once, as arrays": {
            "textfer": lambda: ours.encode_many(texts),
            "t5x": lambda: t5x.encode(texts, return_type="numpy"),
            "sentencepiece": lambda: theirs.encode(texts, return_type="numpy"),
            "sentencepiece, lists made arrays": lambda: [np.array(ids, np.int32) for ids in theirs.encode(texts)],
        },
        "documents decoded": {
            "textfer": lambda: [ours.decode(ids) for ids in encoded],
            "sentencepiece": lambda: [theirs.decode(ids) for ids in encoded],
        },
    }
    encoded = [ours.encode(text) for text in texts]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    for question, sides in questions.items():
        for side, seconds in measure(sides, repeats=args.repeats).items():
            row(f"tokenizing, {question}: {side}", [megabytes / second for second in seconds], "MB/s")


if __name__ == "__main__":
    main()
