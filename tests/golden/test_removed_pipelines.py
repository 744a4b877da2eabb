"""The page for those whom transformers sent away begins with the very words that it says.

Provenance: the oracle is the installed `transformers` itself (written against 5.23).
"""

from __future__ import annotations

from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")
PAGE = Path(__file__).parents[2] / "docs" / "from-transformers.md"


@pytest.mark.parametrize(
    "task", ["question-answering", "summarization", "translation_en_to_de", "text2text-generation"]
)
def test_the_page_quotes_the_error(task: str) -> None:
    from transformers.pipelines import PIPELINE_REGISTRY, pipeline

    if task in PIPELINE_REGISTRY.get_supported_tasks() or int(transformers.__version__.partition(".")[0]) < 5:
        pytest.skip("this transformers still has the pipeline")
    with pytest.raises(KeyError) as caught:
        pipeline(task)
    line = f"KeyError: {caught.value}"
    assert line in PAGE.read_text(encoding="utf-8").splitlines()
