"""BLEU and chrF, equal to those of sacrebleu's own functions over whole corpora."""

from __future__ import annotations

import pytest
from odd_texts import odd_pairs

from textfer.metrics import bleu, chrf, sacrebleu_signature

sacrebleu = pytest.importorskip("sacrebleu", reason="needs sacrebleu")


@pytest.mark.parametrize(("count", "most_golds"), [(1, 1), (1, 3), (7, 2), (1500, 1), (1500, 4)])
def test_corpus_scores(count: int, most_golds: int) -> None:
    texts, golds = odd_pairs(count, seed=10 + count, longest=24, most_golds=most_golds)
    streams = [[row[n] if n < len(row) else None for row in golds] for n in range(max(map(len, golds)))]
    theirs = sacrebleu.corpus_bleu(
        texts, streams, smooth_method="exp", force=True, lowercase=False, tokenize="intl", use_effective_order=False
    )
    assert bleu(texts, golds)["bleu"] == pytest.approx(theirs.score)
    assert chrf(texts, golds)["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, streams).score)


@pytest.mark.parametrize(("num_golds", "shown"), [(1, "1"), (4, "4"), (None, "var")])
def test_signatures_are_sacrebleus(num_golds: int | None, shown: str) -> None:
    version = sacrebleu.__version__
    assert sacrebleu_signature("bleu", num_golds) == (
        f"nrefs:{shown}|case:mixed|eff:no|tok:intl|smooth:exp|version:{version}"
    )
    assert sacrebleu_signature("chrf", num_golds) == (
        f"nrefs:{shown}|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"
    )
