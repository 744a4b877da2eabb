"""The tasks that come with Textfer, one file a family of data sets. Importing this registers them all."""

from textfer.data.tasks import corpora, reading, squad

__all__ = ["corpora", "reading", "squad"]
