"""Reads the results that an earlier run of a benchmark has kept in a JSON file, with the settings they belong to."""

import json
from pathlib import Path
from typing import Any

Settings = dict[str, str | int | None]
"""The settings, by name, with which all results in a file were measured."""


def kept_results(file: Path, settings: Settings) -> dict[str, Any]:
    """The file's `settings` and `results` by name; no results where there is no file yet.

    Ends the command if the results were measured with other settings. Older files hold only the results.
    """
    if not file.exists():
        return {"settings": settings, "results": {}}
    kept: dict[str, Any] = json.loads(file.read_text())
    if "results" not in kept:
        kept = {"settings": None, "results": kept}
    if kept["settings"] is None:
        print(f"{file} does not say what its results were trained with: they are taken as this command's", flush=True)
    elif kept["settings"] != settings:
        before = kept["settings"]
        others = [f"{name} {before[name]}, not {value}" for name, value in settings.items() if before[name] != value]
        raise SystemExit(f"--json is {file}, whose results are of {'; '.join(others)}: give another file")
    return kept
