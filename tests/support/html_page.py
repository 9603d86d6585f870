"""A page taken apart, without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags that a page opens and closes, its attributes, and its text."""

    VOID = ("meta", "line", "circle", "link", "br", "img")

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


def assert_self_contained(page):
    """Nothing on it is loaded from elsewhere, and every tag is closed."""
    found = Page(page)
    assert found.open == []
    assert not {"link", "img", "iframe", "object"} & set(found.tags)
    assert not {"src", "href", "srcset", "data"} & {name for name, _ in found.attributes}
    assert not re.search(r"url\(|@import|https?://", page)
