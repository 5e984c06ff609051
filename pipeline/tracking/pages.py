"""Reads all of MLflow's long answers, which come page by page."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from mlflow.store.entities import PagedList

T = TypeVar("T")


def all_pages(fetch: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """Yields the items of all pages; `fetch` gets a page by the token in the page before it, None for the first."""
    token: str | None = None
    while True:
        page = fetch(token)
        yield from page
        token = page.token
        if not token:
            return
