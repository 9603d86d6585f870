"""Word pieces: vocabularies, words to rows, rows to scores."""
