"""Records what the package's models answer, after they were packed anew: python tests/golden/record_embedded.py

Look at what has changed (git diff) before it is committed: these are the values that test_embedded.py pins.
"""

from __future__ import annotations

import json

from embedded import MODELS, RECORDED, ask

from textfer.models.packed import embedded_folder

if __name__ == "__main__":
    found = {name: ask(name) for name in MODELS if embedded_folder(name) is not None}
    RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, record in found.items():
        print(name, record["scores"])
