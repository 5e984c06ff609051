"""Tests how findings are shown in one line, mended and counted."""

from pipeline.diagnosis.finding import Finding, exit_status, first_names, mended, size_text, totals
from pipeline.errors import UsageError


def test_a_finding_is_one_line_that_says_what_to_do() -> None:
    finding = Finding("version", "vit-x version 1", "has no files,\nnone", "delete it")
    assert finding.line == "version: vit-x version 1 has no files, none: delete it"
    assert mended(finding) is finding  # only a person can mend it
    finding = Finding(
        "leftover", "sweeps/a", "holds 3 bytes", "--fix removes it", mend=lambda: "removed, 3 bytes freed"
    )
    assert mended(finding).line == "leftover: sweeps/a holds 3 bytes: mended: removed, 3 bytes freed"


def test_what_cannot_be_mended_stays_open_and_says_why() -> None:
    def refuse() -> str:
        raise UsageError("it is in use")

    finding = mended(Finding("leftover", "sweeps/a", "holds 3 bytes", "--fix removes it", mend=refuse))
    assert (finding.state, finding.advice) == ("open", "it could not be mended: it is in use")


def test_the_exit_status_and_the_counts_tell_whether_something_wants_a_hand() -> None:
    information = Finding("unfinished", "a", "b", "c", "information")
    done = Finding("run", "a", "b", "c", "mended")
    left = Finding("run", "a", "b", "c")
    assert [exit_status(each) for each in ([], [information, done], [done, left])] == [0, 0, 1]
    assert totals([]) == "nothing was found"
    assert totals([information, done, left]) == (
        "3 found (unfinished 1, run 2): 1 mended, 1 left to fix by hand, 1 for information"
    )


def test_long_lists_and_sizes_are_short_in_words() -> None:
    assert first_names(["a", "b"]) == "a, b"
    assert first_names(list("abcdef")) == "a, b, c, d, 2 more"
    assert [size_text(size) for size in (0, 999, 1000, 12_345_678, 5e9)] == [
        "0 bytes", "999 bytes", "1.0 kB", "12.3 MB", "5.0 GB",
    ]  # fmt: skip
