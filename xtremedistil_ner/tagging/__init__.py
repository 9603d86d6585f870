"""Files of text in, files of tags out, with a tagger between."""
