"""Prints the verdict on the terminal as a table."""

from rich.table import Table
from rich.text import Text

from pipeline.promote.verdict import Verdict
from pipeline.terminal.console import plain_or_live


def show_verdict(verdict: Verdict) -> None:
    table = Table(title=Text(verdict.title), caption=Text(verdict.about_test), box=None, header_style="")
    for column in ("rule", "", "found", "limit"):
        table.add_column(column, no_wrap=column in ("rule", ""))
    colours = {"pass": "green", "fail": "bold red", "not applicable": "dim"}
    for rule in verdict.rules:
        # `Text`, since rich would take a class named `[bold]` for markup.
        cells = (Text(rule.rule), Text(rule.outcome, colours[rule.outcome]), Text(rule.found), Text(rule.limit))
        table.add_row(*cells)
    plain_or_live().print(table, highlight=False)
