"""Puts the sweep's result into words."""

from collections.abc import Mapping
from typing import Any

from pipeline.page.number_texts import points, spread


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Returns the lines that describe the result."""
    winner, baseline, gain = summary["winner"], summary["baseline"], summary["gain"]
    seeds, asha, registry = summary["confirm"]["seeds"], summary["asha"], summary["registry"]
    name = "the published configuration" if winner["published"] else f"trial {winner['trial']}"
    lines = [
        f"winner: {name}, retrained with {seeds} {'seed' if seeds == 1 else 'seeds'}: validation "
        f"{_spread(winner, 'val')}, test {_spread(winner, 'test')}"
    ]
    if winner["shrinkage"] is not None:
        lines.append(
            f"in the search it had {winner['search_accuracy']:.2%} on validation; confirmed: "
            f"{points(-winner['shrinkage'])} points"
        )
    if winner["published"]:
        lines.append("no finalist was better than the published configuration")
    else:
        lines.append(
            f"published configuration: validation {_spread(baseline, 'val')}, test {_spread(baseline, 'test')}; gain "
            f"{points(gain['val_accuracy'])} and {points(gain['test_accuracy'])} points"
        )
    if winner.get("test_tta_mean") is not None:
        lines.append(_tta_line(winner, baseline))
    lines += [f"not eligible: {model['error']}" for model in summary["confirm"]["models"] if model["error"]]
    lines.append(f"ASHA: {asha['epochs']} of {asha['full_grid_epochs']} epochs of the full grid ({asha['share']:.1%})")
    lines += [*summary["importance_lines"], *(f"edge: {line}" for line in summary["edges"])]
    lines += summary["audit"]["lines"] if summary["audit"] else []
    times = summary["test_set_reads"]
    lines.append(f"test images: read {'once' if times == 1 else f'{times} times'} so far in this tracking store")
    lines.append(_registry_line(registry, winner, summary["dataset"]["test_images"]))
    return lines


def _registry_line(registry: Mapping[str, Any], winner: Mapping[str, Any], images: int) -> str:
    known = {"previous": "previous champion"}
    names = [known.get(alias, alias) for alias in registry["aliases"]]
    standing = f"is the {' and '.join(names)}" if names else "has no alias"
    line = (
        f"registry: {registry['model']} version {registry['version']} {standing} (seed {winner['best_seed']}, "
        f"test {winner['test_correct']} of {images})"
    )
    champion, accuracy = registry["champion_version"], registry["champion_test_accuracy"]
    if champion is None:
        return f"{line}; there is no champion yet"
    if champion == registry["version"]:
        return line
    return f"{line}; champion: version {champion}" + ("" if accuracy is None else f", test {accuracy:.2%}")


def _tta_line(winner: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    line = f"test with each image's mirror image: winner {_spread(winner, 'test_tta')}"
    return line if winner["published"] else f"{line}, published configuration {_spread(baseline, 'test_tta')}"


def _spread(model: Mapping[str, Any], split: str) -> str:
    return spread(model[f"{split}_mean"], model[f"{split}_spread"])
