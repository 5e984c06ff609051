"""Tests what happens if the placement groups of a Ray cluster cannot be read."""

import pytest

from pipeline.diagnosis import placement_groups
from pipeline.diagnosis.placement_groups import check_groups
from pipeline.errors import UsageError


def test_a_cluster_that_cannot_be_read_is_an_error_only_where_it_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cluster: str) -> None:
        raise UsageError(f"{cluster} wants a token")

    monkeypatch.setattr(placement_groups, "leaked_groups", refuse)
    with pytest.raises(UsageError, match="a:1 wants a token"):
        list(check_groups("a:1", was_named=True))
    (finding,) = check_groups("a:1", was_named=False)
    assert (finding.state, finding.line) == (
        "information", "group: Ray cluster a:1 cannot be checked from this machine: a:1 wants a token",
    )  # fmt: skip
