"""Tests the sweep's description in MLflow, which is Markdown."""

from markdown_it import MarkdownIt

from pipeline.report.note import describe_sweep
from pipeline.tracking.events import LONGEST_TAG
from tests.html_page import HtmlPage
from tests.unit.pipeline.page.sweep_of_all import HOSTILE, records, sweep_summary


def test_it_says_who_won_by_how_much_and_what_to_do_next() -> None:
    found = records(sweep_summary())
    note = describe_sweep(found.summary, found.predictions)
    page = HtmlPage(MarkdownIt("commonmark").enable("table").render(note))
    assert page.tags["table"] == 2
    for words in (
        "Trial 7 is best: 97.00% of the test images right (mean of 2 seeds), +0.00 points against the published",
        "95% interval",
        "24 configurations of the space small on",
        "trial 7 98.80% ± 0.42 97.00%",
        "1 1 98.00% 45 finished 123,456",
        "python -m pipeline.report sweep-digits-1a2b3c4d",
        "python -m pipeline.promote --model vit-digits",
    ):
        assert words in page.text
    assert len(note) < LONGEST_TAG


def test_what_users_named_is_text_not_markup() -> None:
    found = records(sweep_summary())
    page = HtmlPage(MarkdownIt("commonmark").enable("table").render(describe_sweep(found.summary, found.predictions)))
    assert page.tags["script"] == 0
    assert HOSTILE in page.text


def test_without_recorded_answers_it_tells_no_interval() -> None:
    note = describe_sweep(sweep_summary(), {})
    assert "Trial 7 is best" in note
    assert "interval" not in note
