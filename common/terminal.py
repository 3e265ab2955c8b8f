"""The consoles to which commands print: results and progress to one, errors to the other."""

from rich.console import Console

console = Console(highlight=False)
error_console = Console(stderr=True, highlight=False)
