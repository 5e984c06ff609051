"""Tests of the ledger's chain of decisions without a store: what an entry is, and which changes are detected."""

import hashlib
import json
from collections.abc import Callable

import pytest

from pipeline.promote.ledger import Ledger, Mark, key_of, next_entry, read_ledger
from tests.unit.pipeline.promote.decisions import decision


def chain(length: int) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number in range(1, length + 1):
        ledger = read_ledger(texts, None)
        texts[key_of(number)] = next_entry(ledger, decision(number, number - 1 or None)).to_text()
    return texts


def mark_of(texts: dict[str, str]) -> str:
    last = read_ledger(texts, None).last
    assert last is not None
    return Mark(last.number, last.hash).to_text()


def test_a_hash_is_what_sha256sum_says_of_the_json_with_sorted_keys() -> None:
    texts = chain(2)
    first, second = (json.loads(text) for text in texts.values())
    written = first.pop("hash")
    assert (
        written
        == hashlib.sha256(
            json.dumps(first, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        ).hexdigest()
    )
    assert (first["before"], second["before"]) == ("0" * 64, written)
    assert '"naïve: better"' in texts["000001"]


def test_a_whole_chain_has_no_faults() -> None:
    texts = chain(3)
    ledger = read_ledger(texts, mark_of(texts))
    assert ledger.faults == ()
    assert [entry.decision.to_version for entry in ledger.entries] == [1, 2, 3]
    assert ledger.not_carried_out == ()
    assert read_ledger({}, None) == Ledger((), (), None)


def test_entries_beyond_the_mark_are_not_carried_out() -> None:
    texts = chain(3)
    mark = mark_of({key: texts[key] for key in ("000001", "000002")})
    assert [entry.number for entry in read_ledger(texts, mark).not_carried_out] == [3]
    assert [entry.number for entry in read_ledger(texts, None).not_carried_out] == [1, 2, 3]


def _rewritten(text: str, **changes: object) -> str:
    """Returns a changed entry with the hash that matches it, as somebody who knows the format would forge it."""
    content = {**json.loads(text), **changes}
    del content["hash"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    content["hash"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _change(texts: dict[str, str]) -> None:
    texts["000002"] = texts["000002"].replace("better", "much better")


def _change_and_hash_anew(texts: dict[str, str]) -> None:
    texts["000002"] = _rewritten(texts["000002"], why="much better")


def _change_the_last_and_hash_anew(texts: dict[str, str]) -> None:
    texts["000003"] = _rewritten(texts["000003"], why="much better")


def _break(texts: dict[str, str]) -> None:
    texts["000002"] = "{}"


def _remove(texts: dict[str, str]) -> None:
    del texts["000002"]


def _remove_the_last(texts: dict[str, str]) -> None:
    del texts["000003"]


def _remove_all(texts: dict[str, str]) -> None:
    texts.clear()


def _reorder(texts: dict[str, str]) -> None:
    texts["000002"], texts["000003"] = texts["000003"], texts["000002"]


def _remove_and_close_the_gap(texts: dict[str, str]) -> None:
    texts["000002"] = _rewritten(texts.pop("000003"), number=2)


def _add_a_note(texts: dict[str, str]) -> None:
    texts["note"] = "hello"


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_change, "entry 000002 was changed: it does not have the hash that it was written with"),
        (_change_and_hash_anew, "entry 000003 does not follow on the one before it"),
        (
            _change_the_last_and_hash_anew,
            "entry 000003 was replaced: its hash differs from the one in the registered model's tag",
        ),
        (_break, "entry 000002 was changed: it cannot be read any more"),
        (_remove, "entry 000002 was removed"),
        (_remove_the_last, "entry 000003 was removed: the registered model's tag still names it"),
        (_remove_all, "entry 000003 was removed: the registered model's tag still names it"),
        (_reorder, "entry 000002 is in the wrong place: it was written as 000003"),
        (_remove_and_close_the_gap, "entry 000002 does not follow on the one before it"),
        (_add_a_note, "it holds 'note', which is no entry's number"),
    ],
)
def test_what_somebody_does_to_it_shows(tamper: Callable[[dict[str, str]], None], said: str) -> None:
    texts = chain(3)
    mark = mark_of(texts)
    tamper(texts)
    faults = read_ledger(texts, mark).faults
    assert any(fault.startswith(said) for fault in faults), faults


def test_a_mark_that_is_no_mark_shows() -> None:
    assert read_ledger(chain(1), "yes").faults == ("the registered model's mark of its end was changed: 'yes'",)


def test_the_digest_with_which_a_version_became_champion_is_found() -> None:
    first = next_entry(Ledger((), (), None), decision(2, 1, "refused"))
    ledger = read_ledger({"000001": first.to_text()}, None)
    assert ledger.files_of(2) is None  # it was refused
    texts = chain(3)
    assert read_ledger(texts, None).files_of(2) == "sha256:2"
