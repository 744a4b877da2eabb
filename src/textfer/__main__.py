"""`python -m textfer` is `textfer`."""

from __future__ import annotations

from textfer.cli import main

if __name__ == "__main__":
    main()
