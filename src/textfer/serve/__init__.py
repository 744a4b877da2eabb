"""Models behind HTTP: answers, texts, labels and vectors for other programs and for a web page; and a client for it."""
