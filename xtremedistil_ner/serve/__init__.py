"""The HTTP service over a tagger, and its page."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "page"
