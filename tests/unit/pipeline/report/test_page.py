"""The page of a sweep: read back with a parser, as a browser would."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from pipeline.report.page import render_report

# Elements that HTML closes by itself.
VOID = {"meta", "link", "img", "br"}
HOSTILE = "<script>alert('x')</script>\"&"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63600000000200014898216f0000000049454e44ae426082"
)
FIGURES = ("graph", "ladder", "importance", "leaderboard")


class Page(HTMLParser):
    """The page's elements, its text, and whether every tag is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def sections(self) -> list[str | None]:
        return [value for name, value in self.attributes if name == "id"]

    @property
    def images(self) -> list[str | None]:
        return [value for name, value in self.attributes if name == "src"]


def row(rank: int, trial: int) -> dict[str, Any]:
    stopped = rank > 3
    return {
        "rank": rank, "trial": trial, "val_accuracy": 0.99 - rank / 100, "val_loss": 0.1, "best_epoch": 3,
        "epochs_run": 3 if stopped else 45, "ended": "asha" if stopped else "finished", "error": None,
        "num_parameters": 123456, "training_seconds": 75.2, "run_id": f"run{trial}", "patch_size": 2, "depth": 4,
        "num_heads": 3, "embed_dim": 96, "learning_rate": 1.5e-3,
        "decisions": [
            {"epoch": 3, "accuracy": 0.9 - rank / 100, "cutoff": 0.87, "rank": rank, "of": 32, "go_on": not stopped}
        ],
    }  # fmt: skip


def finalist(trial: int, mean: float, spread: float | None) -> dict[str, Any]:
    return {
        "name": "published" if trial == 0 else f"trial {trial}", "trial": trial, "published": trial == 0,
        "search_accuracy": 0.9965, "val_accuracies": [mean - 0.003, mean + 0.003], "val_mean": mean,
        "val_spread": spread, "shrinkage": 0.9965 - mean, "test_accuracies": [0.98], "test_mean": 0.98,
        "test_spread": None, "run_ids": ["a1", "b2"],
    }  # fmt: skip


def measured(trial: int, accuracy: float) -> dict[str, Any]:
    return {
        "trial": trial, "val_accuracy": accuracy, "test_accuracy": accuracy, "test_correct": 350,
        "test_class_accuracy": {"cat": 0.91, HOSTILE: 0.87, "unseen": None},
    }  # fmt: skip


@pytest.fixture
def summary() -> dict[str, Any]:
    """Of a sweep with everything in it, and markup where a user's own words may stand."""
    return {
        "sweep": {
            "name": "sweep-digits-1a2b3c4d", "run_id": "0f0f", "experiment": "vit-digits",
            "tracking_uri": "sqlite:////x/mlflow.db", "folder": "/x/sweeps/sweep-digits-1a2b3c4d", "seed": 7,
            "space": "small", "precision": "bf16", "command": "python -m pipeline.sweep --dataset '<i>&'",
        },
        "dataset": {
            "name": HOSTILE, "digest": "sha256:aa", "test_digest": "sha256:bb", "train_images": 1294,
            "validation_images": 144, "test_images": 359,
        },
        "lines": ["winner: trial 7, validation 98.80%", f"published configuration: {HOSTILE}"],
        "leaderboard": [row(rank, trial=rank % 32) for rank in range(1, 33)],
        "winner": measured(7, 0.983), "baseline": measured(0, 0.97),
        "gain": {"val_accuracy": 0.0123, "test_accuracy": -0.004},
        "asha": {"rungs": [3, 9, 27, 45], "epochs": 318, "full_grid_epochs": 1440, "share": 318 / 1440},
        "registry": {
            "model": "vit-digits", "version": 3, "aliases": ["challenger"], "champion_version": None,
            "champion_test_accuracy": None,
        },
        "seconds": {"stages": {"prepare": 1.5}, "training": 3725.0, "concurrent_trials": 2, "cluster_cores": 2},
        "next": {"view": "python -m pipeline.ui", "promote": "python -m pipeline.promote --model vit-digits"},
        "stages": [
            {"name": "prepare", "inputs": [], "outcome": "cached", "reason": "nothing changed", "seconds": None,
             "run_id": "3f2a"},
            {"name": "search", "inputs": ["prepare"], "outcome": "run", "reason": HOSTILE, "seconds": 96.04,
             "run_id": None},
        ],
        "confirm": {"seeds": 2, "epochs": 45, "models": [finalist(7, 0.988, 0.0042), finalist(0, 0.97, None)]},
        "test_set_reads": 4,
        "edges": [f"depth is at the edge {HOSTILE}"],
        "importance": {"target": "val_accuracy", "trials": 32, "score": 0.6, "shares": {"depth": 0.3, "stem": 0.7}},
        "importance_lines": ["of 32 trials, stem explains most"],
        "audit": {
            "lines": ["of 5 stopped trials run on, none won"],
            "rungs": [{"epoch": 3, "correlation": 0.734, "trials": 5}, {"epoch": 9, "correlation": None, "trials": 1}],
        },
    }  # fmt: skip


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Path]:
    for name in FIGURES:
        (tmp_path / f"{name}.png").write_bytes(PIXEL)
    return {name: tmp_path / f"{name}.png" for name in FIGURES}


def test_the_whole_page(summary: dict[str, Any], figures: dict[str, Path]) -> None:
    page = Page(render_report(summary, figures))
    assert page.sections == [
        "verdict", "confirm", "test", "leaderboard", "stops", "hyperparameters", "audit", "stages", "reproduce",
    ]  # fmt: skip
    for words in (
        "winner: trial 7, validation 98.80%",
        "trial 7 99.65% 98.80% ± 0.42 +0.85 98.00%",
        "published 99.65% 97.00% +2.65 98.00%",
        "read 4 times",
        "+1.23 on validation, -0.40 on test",
        "Of 32 trials: 3 ran to the full length, 29 stopped by ASHA. In all 318 of the 1440 epochs",
        "7 3 83.00% 87.00% 7 of 32 stopped",
        "stem 70.00% depth 30.00%",
        "3 0.73 5",
        "9 - 1",
        "nothing changed - 3f2a",
        "1 min 36 s",
        "1 h 2 min",
        "sha256:aa",
        "vit-digits version 3",
    ):
        assert words in page.text


def test_all_figures_stand_inside_the_page(summary: dict[str, Any], figures: dict[str, Path]) -> None:
    page = Page(render_report(summary, figures))
    assert len(page.images) == len(FIGURES)
    assert all(source is not None and source.startswith("data:image/png;base64,iVBORw0KGgo") for source in page.images)
    assert Page(render_report(summary, {"ladder": figures["ladder"]})).images == page.images[1:2]


def test_the_page_asks_for_nothing_outside_itself(summary: dict[str, Any], figures: dict[str, Path]) -> None:
    html = render_report(summary, figures)
    assert "http://" not in html
    assert "https://" not in html
    assert Page(html).tags["script"] == 0


def test_what_users_named_is_text_not_markup(summary: dict[str, Any]) -> None:
    summary["leaderboard"][4]["error"] = HOSTILE
    page = Page(render_report(summary, {}))
    assert page.tags["script"] == page.tags["i"] == 0
    # Data set, verdict, class, error, edge, reason.
    assert page.text.count(HOSTILE) == 6
    assert "--dataset '<i>&'" in page.text


@pytest.mark.parametrize(
    ("section", "emptied"),
    [
        ("audit", {"audit": None}),
        ("hyperparameters", {"importance": None, "importance_lines": [], "edges": []}),
        ("stages", {"stages": []}),
    ],
)
def test_what_does_not_apply_has_no_section(
    summary: dict[str, Any], figures: dict[str, Path], section: str, emptied: Mapping[str, Any]
) -> None:
    full, less = (Page(render_report(values, figures)) for values in (summary, {**summary, **emptied}))
    assert set(full.sections) - set(less.sections) == {section}
    assert "None" not in less.text


def test_a_finalist_that_failed_with_every_seed_has_no_figures(summary: dict[str, Any]) -> None:
    failed = dict.fromkeys(("val_mean", "val_spread", "shrinkage", "test_mean", "test_spread"))
    summary["confirm"]["models"].append({**finalist(9, 0.5, None), **failed, "val_accuracies": []})
    page = Page(render_report(summary, {}))
    assert "trial 9 99.65% - - -" in page.text
    assert "None" not in page.text


def test_a_trial_without_a_result_leaves_no_hole(summary: dict[str, Any]) -> None:
    summary["leaderboard"][-1].update(val_accuracy=None, ended="failed", decisions=[])
    page = Page(render_report(summary, {}))
    assert "None" not in page.text
    assert "1 failed" in page.text


@pytest.mark.parametrize(("ended", "verdict"), [("asha", "stopped"), ("diverged", "diverged")])
def test_a_decision_says_what_became_of_the_trial(summary: dict[str, Any], ended: str, verdict: str) -> None:
    (decision,) = row(rank=4, trial=9)["decisions"]
    summary["leaderboard"] = [{**row(rank=4, trial=9), "ended": ended, "decisions": [{**decision, "accuracy": 0.0}]}]
    assert f'<td class="text">{verdict}</td></tr>' in render_report(summary, {})


@pytest.mark.parametrize(("trials", "folded"), [(1, 0), (20, 0), (21, 1), (1000, 980)])
def test_twenty_trials_are_shown_and_the_rest_folded(
    summary: dict[str, Any], trials: int, folded: int, count_rows: Callable[[str], int]
) -> None:
    summary["leaderboard"] = [row(rank, trial=rank) for rank in range(1, trials + 1)]
    html = render_report(summary, {})
    section = html[html.index('<section id="leaderboard">') : html.index('<section id="stops">')]
    shown, _, rest = section.partition("<details>")
    assert count_rows(shown) == min(trials, 20)
    assert count_rows(rest) == folded


@pytest.fixture
def count_rows() -> Callable[[str], int]:
    return lambda html: html.split("<tbody>", 1)[1].split("</tbody>")[0].count("<tr") if "<tbody>" in html else 0


@pytest.mark.parametrize("key", ["lines", "confirm", "stages", "audit", "edges", "test_set_reads"])
def test_a_summary_without_a_key_is_an_error(summary: dict[str, Any], key: str) -> None:
    incomplete = copy.deepcopy(summary)
    del incomplete[key]
    with pytest.raises(UndefinedError, match=key):
        render_report(incomplete, {})
