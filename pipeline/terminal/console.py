"""The console on which the commands print."""

from rich.console import Console

WIDTH_OF_A_FILE = 120


def plain_or_live() -> Console:
    """Returns a console as wide as the terminal, or of a fixed width if the output goes into a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_A_FILE)
