"""Tests that an answer in several pages is read completely, once, and in order."""

import pytest
from mlflow.store.entities import PagedList

from pipeline.tracking.pages import all_pages


@pytest.mark.parametrize("pages", [[[]], [[1, 2]], [[1], [], [2, 3]]])
def test_every_page_is_asked_for_once(pages: list[list[int]]) -> None:
    asked: list[str | None] = []

    def fetch(token: str | None) -> PagedList[int]:
        asked.append(token)
        number = int(token or 0)
        return PagedList(pages[number], str(number + 1) if number + 1 < len(pages) else None)

    assert list(all_pages(fetch)) == [each for page in pages for each in page]
    assert asked == [None, *map(str, range(1, len(pages)))]
