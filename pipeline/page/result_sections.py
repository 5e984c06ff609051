"""The page's sections on the result: who won, how it was confirmed and audited, and how to reproduce it."""

from pipeline.page.blocks import Block, Code, Facts, Row, Table, Text, need
from pipeline.page.headline import certainty_sentences, result_sentence
from pipeline.page.number_texts import count_of, percent, points, spread, times
from pipeline.page.sweep_records import SweepRecords


def verdict(records: SweepRecords) -> list[Block]:
    sentences = [result_sentence(records.summary), *certainty_sentences(records.predictions)]
    lines = records.summary["lines"]
    return [*(Text(sentence) for sentence in sentences), *(Text(line, soft=True) for line in lines)]


def confirmation(records: SweepRecords) -> list[Block]:
    confirm, trials = need(records.summary, "confirm"), len(records.summary["leaderboard"])
    seeds, epochs = count_of(confirm["seeds"], "other seed"), count_of(confirm["epochs"], "epoch")
    rows = [
        Row(
            (
                model["name"],
                percent(model["search_accuracy"]),
                spread(model["val_mean"], model["val_spread"]),
                points(model["shrinkage"]),
                spread(model["test_mean"], model["test_spread"]),
                " ".join(map(percent, model["val_accuracies"])),
            ),
            strong=number == 0,
            note=model["error"],
        )
        for number, model in enumerate(confirm["models"])
    ]
    head = ("model", "in the search", "validation", "shrinkage (points)", "test", "validation, by seed")
    read = times(need(records.summary, "test_set_reads"))
    return [
        Text(
            f"The best of {trials} on validation is partly luck. So each finalist was retrained with {seeds} for "
            f"{epochs}. The mean validation accuracy over these seeds decides; the test images are not used to choose. "
            "Means are given with their sample standard deviation. Shrinkage is how far the search's figure was above "
            "the confirmed mean."
        ),
        Table(head, rows, words=(0,)),
        Text(
            f"These test images have been read {read} in this tracking store; the more often, the less a small lead "
            "on them says."
        ),
    ]


def audit(records: SweepRecords) -> list[Block]:
    found = need(
        records.summary, "audit", why="no trial that ASHA had stopped was trained further: --audit K does that"
    )
    rows = [
        Row(
            (
                str(rung["epoch"]),
                "-" if rung["correlation"] is None else f"{rung['correlation']:.2f}",
                str(rung["trials"]),
            )
        )
        for rung in found["rungs"]
    ]
    lines: list[Block] = [Text(line) for line in found["lines"]]
    return [*lines, Table(("rung (epoch)", "rank correlation with the full-length accuracy", "trials"), rows)]


def reproduction(records: SweepRecords) -> list[Block]:
    sweep, dataset, registry = (records.summary[name] for name in ("sweep", "dataset", "registry"))
    facts = {
        "seed": sweep["seed"],
        "space": sweep["space"],
        "precision": sweep["precision"],
        "images": dataset["digest"],
        "test images": dataset["test_digest"],
        "MLflow run": sweep["run_id"],
        "MLflow experiment": sweep["experiment"],
        "folder": sweep["folder"],
        "registered as": f"{registry['model']} version {registry['version']}",
    }
    commands = need(records.summary, "next")
    return [
        Code(sweep["command"]),
        Facts({name: str(value) for name, value in facts.items()}),
        Text("To see the runs, with every epoch of every trial, and to make the winner the champion:"),
        Code(f"{commands['view']}\n{commands['promote']}"),
    ]
