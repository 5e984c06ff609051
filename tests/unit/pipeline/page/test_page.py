"""Tests of a sweep's page, which is read back with a parser and whose charts are drawn by Vega itself."""

import base64
import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest
import vl_convert

from pipeline.page.blocks import Chart, Charts, Table
from pipeline.page.class_sections import class_accuracy
from pipeline.page.hyperparameter_sections import hyperparameters
from pipeline.page.page import SECTIONS, render_page, sections_of
from pipeline.page.sweep_records import SweepRecords
from pipeline.page.trial_sections import costs, leaderboard
from tests.html_page import HtmlPage
from tests.unit.pipeline.page.sweep_of_all import HOSTILE, records, row, sweep_summary

ALL = [anchor for anchor, _, _ in SECTIONS]


@pytest.fixture
def summary() -> dict[str, Any]:
    return sweep_summary()


@pytest.fixture(scope="module")
def html() -> str:
    """Returns the page of a sweep with everything in it; the error of one of its trials contains markup."""
    summary = sweep_summary()
    summary["leaderboard"][4]["error"] = HOSTILE
    return html_of(records(summary))


@pytest.fixture(scope="module")
def page(html: str) -> HtmlPage:
    return HtmlPage(html)


def html_of(found: SweepRecords) -> str:
    return render_page(found.summary, sections_of(found))


def made_of(found: SweepRecords) -> tuple[HtmlPage, list[str]]:
    """Returns the page, and the anchors of the sections that are left out."""
    sections = sections_of(found)
    return HtmlPage(render_page(found.summary, sections)), [each.anchor for each in sections if each.left_out]


@pytest.mark.parametrize(
    "words",
    [
        "Trial 7 is best: 97.00% of the test images right (mean of 2 seeds)",
        "Against the published configuration's best training, on the same images:",
        "winner: trial 7, validation 98.80%",
        "trial 7 99.65% 98.80% ± 0.42 +0.85 97.00%",
        "have been read 4 times",
        "Of 24 trials: 4 ran to the full length, 20 stopped by ASHA. In all 318 of the 1440 epochs",
        "7 3 83.00% 87.00% 7 of 7 stopped",
        "patch_size 30.00%",
        "The 2 wrong answers of which the winner was surest",
        f"cat, taken for {HOSTILE}",
        "99.0% sure; 1.0% for cat. Patches weigh 0.40 to 1.60 of an even share.",
        "3 0.73 5 9 - 1",
        "from run 3f2a8b1c",
        "1 min 36 s",
        "vit-digits version 3",
    ],
)
def test_the_whole_page_says(page: HtmlPage, words: str) -> None:
    assert words in page.text


def test_the_whole_page_has_every_section(page: HtmlPage) -> None:
    assert page.sections == ALL
    assert "Left out" not in page.text
    assert "None" not in page.text


def test_every_chart_is_drawn_by_vega(page: HtmlPage) -> None:
    assert len(page.charts) == 11
    for name, spec in page.charts.items():
        drawn = vl_convert.vegalite_to_svg({**spec, "width": 600}, vl_version="6.4")
        marks = re.findall(r'<g class="mark-(?:line|symbol|rect|rule) role-mark[^>]*>(.*?)</g>', drawn, re.DOTALL)
        assert any("<path" in mark or "<line" in mark for mark in marks), name


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_what_models_cost_is_shown_without_trials_that_diverged_or_failed(
    summary: dict[str, Any], outcome: str
) -> None:
    summary["leaderboard"][-1] |= {"ended": outcome, "val_accuracy": 0.999}
    (_, charts) = costs(records(summary))
    assert isinstance(charts, Charts)
    for chart in charts.charts:
        shown = {point["trial"] for values in chart.spec["datasets"].values() for point in values}
        assert shown == {each["trial"] for each in summary["leaderboard"][:-1]}


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_the_parallel_coordinates_are_without_trials_that_diverged_or_failed(
    summary: dict[str, Any], outcome: str
) -> None:
    summary["leaderboard"][-1] |= {"ended": outcome, "val_accuracy": 0.999}
    (chart,) = (
        block
        for block in hyperparameters(records(summary))
        if isinstance(block, Chart) and block.says.startswith("The trials' hyperparameters")
    )
    points = [point for values in chart.spec["datasets"].values() for point in values if "trial" in point]
    assert {point["trial"] for point in points} == {each["trial"] for each in summary["leaderboard"][:-1]}


def test_the_page_asks_for_nothing_outside_itself(html: str, page: HtmlPage) -> None:
    assert all(str(link).startswith(("data:", "#")) for link in page.values("href"))
    assert all(str(source).startswith("data:image/png;base64,") for source in page.values("src"))
    assert not re.search(r"url\(|@import", html[html.index("<style>") : html.index("</style>")])
    assert len(html.encode()) < 10_000_000


def test_only_the_pages_own_script_may_run(page: HtmlPage) -> None:
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [content for content in page.values("content", "meta") if str(content).startswith("default-src")]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_what_users_named_is_text_not_markup(html: str, page: HtmlPage) -> None:
    assert "<script>alert" not in html
    assert (page.tags["script"], page.tags["i"]) == (1 + len(page.charts), 0)
    # In the data set's name, a verdict, an error, an edge, a reason, a class's name in a table, and that of a class in
    # two mistakes.
    assert page.text.count(HOSTILE) >= 8
    assert "--dataset '<i>&'" in page.text
    layers = page.charts["confusions-chart-2"]["layer"]
    assert HOSTILE in layers[0]["encoding"]["x"]["scale"]["domain"]


@pytest.mark.parametrize(
    ("section", "lost", "reason"),
    [
        ("audit", "audit", "no trial that ASHA had stopped was trained further: --audit K does that"),
        ("hyperparameters", "edges", "the sweep's summary does not tell (edges)"),
        ("stages", "stages", "the sweep's summary does not tell (stages)"),
        ("confirm", "test_set_reads", "the sweep's summary does not tell (test_set_reads)"),
        ("time", "seconds", "the sweep's summary does not tell (seconds)"),
    ],
)
def test_what_a_summary_does_not_tell_is_left_out_with_a_reason(
    summary: dict[str, Any], section: str, lost: str, reason: str
) -> None:
    del summary[lost]
    page, left_out = made_of(records(summary))
    assert (left_out, page.sections) == ([section], ALL)
    assert f"Left out: {reason}" in page.text


def test_records_without_answers_and_runs_leave_their_sections_out(summary: dict[str, Any]) -> None:
    page, left_out = made_of(replace(records(summary), trials=[], predictions={}, mistakes=None))
    assert left_out == ["curves", "classes", "confusions", "mistakes", "time"]
    assert "Left out: the trials' runs are gone from MLflow" in page.text
    assert "95% interval" not in page.text


def test_what_failed_leaves_no_hole(summary: dict[str, Any]) -> None:
    """A trial without an epoch and a finalist that failed with every seed show no `None` and cost no section."""
    found = records(summary)
    summary["leaderboard"][-2].update(val_accuracy=None, ended="failed", decisions=[], epochs_run=0)
    failed = dict.fromkeys(("val_mean", "val_spread", "shrinkage", "test_mean", "test_spread"))
    model = {**summary["confirm"]["models"][0], **failed, "name": "trial 9", "val_accuracies": [], "error": "it broke"}
    summary["confirm"]["models"].append(model)
    page, left_out = made_of(replace(found, trials=found.trials[:-2]))
    assert left_out == []
    assert "trial 9 99.65% - - - it broke" in page.text
    assert "1 failed" in page.text
    assert "None" not in page.text


def test_a_champion_that_cannot_be_compared_is_said_so(summary: dict[str, Any]) -> None:
    found = records(summary)
    without = replace(found, predictions={name: found.predictions[name] for name in ("winner", "published")})
    assert "no predictions of version 2 on these test images are recorded" in str(class_accuracy(without))
    summary["registry"]["champion_version"] = None
    assert "The champion is not among them" not in str(class_accuracy(without))


@pytest.mark.parametrize(("trials", "folded"), [(1, 0), (20, 0), (21, 1), (1000, 980)])
def test_twenty_trials_are_shown_and_the_rest_folded(summary: dict[str, Any], trials: int, folded: int) -> None:
    summary["leaderboard"] = [row(rank, trial=rank - 1) for rank in range(1, trials + 1)]
    shown, *rest = leaderboard(replace(records(sweep_summary()), summary=summary))
    assert isinstance(shown, Table) and shown.fold is None
    assert len(shown.rows) == min(trials, 20)
    assert [(len(each.rows), each.fold) for each in rest if isinstance(each, Table)] == (
        [(folded, f"The other {folded} trials")] if folded else []
    )
