"""Where commands print: results and progress to one console, errors to the other."""

from rich.console import Console

console = Console(highlight=False)
error_console = Console(stderr=True, highlight=False)
