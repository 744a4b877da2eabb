"""Ten questions about The Hound of the Baskervilles (1902, public domain), written for this project.

Each has the answers that are taken for right, in the spelling of the book, and the share of the book that lies before.
"""

from __future__ import annotations

from typing import NamedTuple

TITLE = "Hound"
"""The book's title among the novels of the data folder."""


class Asked(NamedTuple):
    """A question about the book."""

    question: str
    answers: tuple[str, ...]
    share: float
    """About where the passage that answers it stands: 0 … 1 of the book."""


QUESTIONS = (
    Asked("What is the date of the manuscript that tells the legend?", ("1742",), 0.04),
    Asked(
        "At which hotel in London does Sir Henry Baskerville stay?", ("Northumberland Hotel", "Northumberland"), 0.16
    ),
    Asked("What is the name of the cabman who drove the spy?", ("John Clayton", "Clayton"), 0.27),
    Asked("Who is the Notting Hill murderer?", ("Selden",), 0.31),
    Asked("What is the name of the great mire on the moor?", ("Grimpen Mire", "great Grimpen Mire", "Grimpen"), 0.38),
    Asked("Where does Laura Lyons live?", ("Coombe Tracey",), 0.63),
    Asked("Whose daughter is Laura Lyons?", ("Frankland", "Old Frankland", "Frankland's"), 0.63),
    Asked(
        "Which private school did Mr. and Mrs. Vandeleur keep?", ("St. Oliver's", "St. Oliver's private school"), 0.85
    ),
    Asked("What was printed on the leather inside the old black boot?", ("Meyers, Toronto",), 0.92),
    Asked("From which dealers in London was the dog bought?", ("Ross and Mangles",), 0.95),
)
