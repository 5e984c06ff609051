"""Where the commands print."""

from rich.console import Console

WIDTH_OF_A_FILE = 120


def plain_or_live() -> Console:
    """A terminal's own width; a fixed one for files and pipes."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_A_FILE)
