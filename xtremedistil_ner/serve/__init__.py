"""The HTTP service over a tagger, and its page."""
