"""Corpora: sentences, word splitting, readers of labelled folders and raw text, the built-in demo."""
