"""Fixtures that all unit tests share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Makes torch use one thread: small tensors are slower on several, and far slower where other tests use the cores.

    The number of threads is restored at the end.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
