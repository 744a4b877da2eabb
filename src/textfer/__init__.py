"""Textfer: transfer learning in text-to-text form."""
__version__ = "0.1.0"
