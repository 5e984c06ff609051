"""Tests that the tables of a comparison show names unchanged, even if they look like markup."""

import pytest
from rich.console import Console

from pipeline.compare.tables import Section, print_sections

ODD = ("[other]", "[/x]", "[red]", ":cat:")


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_no_markup(name: str) -> None:
    shown = (
        Section("settings", ("", f"model {name}"), ((f"class {name}", f"value {name}"),)),
        Section("notes", lines=(f"line {name}",)),
    )
    console = Console(width=120)
    with console.capture() as printed:
        print_sections(console, shown)
    for what in ("model", "class", "value", "line"):
        assert f"{what} {name}" in printed.get()
