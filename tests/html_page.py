"""An HTML page read back with a parser, as a browser would."""

import json
from collections import Counter
from html.parser import HTMLParser
from typing import Any

# Elements that HTML closes by itself.
_VOID = {"meta", "link", "img", "br"}


class HtmlPage(HTMLParser):
    """The page's elements, its text, and whether every tag is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        """Element, name, value."""
        self.charts: dict[str, dict[str, Any]] = {}
        """Specifications by the id of the element that holds them."""
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
        """All that is to be read, in one line."""
        return " ".join(" ".join(self._texts).split())

    def values(self, attribute: str, tag: str | None = None) -> list[str | None]:
        """An attribute's values, of one kind of element or of all."""
        return [value for its, name, value in self.attributes if name == attribute and tag in (None, its)]

    @property
    def sections(self) -> list[str | None]:
        return self.values("id", "section")
