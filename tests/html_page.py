"""Reads an HTML page back with a parser, as a browser would."""

import json
from collections import Counter
from html.parser import HTMLParser
from typing import Any

# Void elements, which have no closing tag.
_VOID = {"meta", "link", "img", "br"}


class HtmlPage(HTMLParser):
    """The elements and the text of a page. It fails if the tags are not closed in the right order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        """The element, the name and the value of each attribute."""
        self.charts: dict[str, dict[str, Any]] = {}
        """The specifications of the charts, by the id of the element that holds them."""
        self.scripts: list[str] = []
        self._texts: list[str] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in _VOID:
            self._open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag == "script":
            if attributes.get("type") == "application/json":
                self.charts[str(attributes["id"])] = json.loads(data)
            else:
                self.scripts.append(data)
        elif tag != "style":
            self._texts.append(data)

    @property
    def text(self) -> str:
        """All text that a reader sees, in one line."""
        return " ".join(" ".join(self._texts).split())

    def values(self, attribute: str, tag: str | None = None) -> list[str | None]:
        """Returns the values of an attribute on the elements of one kind, or on all elements."""
        return [value for its, name, value in self.attributes if name == attribute and tag in (None, its)]

    @property
    def sections(self) -> list[str | None]:
        return self.values("id", "section")
