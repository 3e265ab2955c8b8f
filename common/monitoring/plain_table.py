"""Prints tables without lines, in which no word is ever broken, however narrow the terminal."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from common.printable import make_printable

GAPS = (2, 1)  # characters between two columns; the narrower where there is no room for the other
FIGURE_PATTERN = re.compile(r"|-|[+-]?\d[\d,]*(\.\d+)?(e[+-]\d+)?( ?[%\w/]+)?")


def plain_table(title: str, *columns: str) -> "PlainTable":
    """An empty table with these headings; without headings where all are empty."""
    table = PlainTable(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, caption_justify="left")
    table.show_header = any(columns)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    return table


class PlainTable(Table):
    """A table with figures to the right and words to the left, which wrap between words where a line has no room for all.

    Where a line has no room even for the longest word of each column, each row is written out, headings before figures.
    """

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Adds a row. A string is shown as it is, whatever it holds: markup is for cells that are a `Text`."""
        super().add_row(*(Text(make_printable(cell)) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[_text(cell) for cell in column._cells] for column in self.columns]
        headings = [_text(column.header) for column in self.columns]
        # The first column says what the row is about: it never wraps.
        min_widths = [
            max(map(cell_len if number == 0 else _longest_word, [heading, *column]))
            for number, (heading, column) in enumerate(zip(headings, cells, strict=True))
        ]
        rooms = {gap: options.max_width - gap * (len(min_widths) - 1) for gap in GAPS}
        gap = next((gap for gap, room in rooms.items() if sum(min_widths) <= room), None)
        if gap is None:
            yield from self._write_out(headings, cells)
            return
        self.padding = (0, gap, 0, 0)
        widths = _column_widths(min_widths, headings, cells, rooms[gap])
        for column, column_cells, width in zip(self.columns, cells, widths, strict=True):
            column.width, column.justify = width, "right" if _are_figures(column_cells) else "left"
        yield from super().__rich_console__(console, options)

    def _write_out(self, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[Text]:
        if self.title:
            yield Text(_text(self.title), style="bold")
        for name, *values in zip_longest(*cells, fillvalue=""):
            pairs = [f"{heading} {value}".strip() for heading, value in zip(headings[1:], values, strict=True) if value]
            yield Text(f"{headings[0]} {name}: {', '.join(pairs)}".lstrip())
        if self.caption:
            yield Text(_text(self.caption), style="italic")


def _column_widths(min_widths: Sequence[int], headings: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths that sum up to `room` at most, each between its least and that of its longest cell.

    The columns that lack the fewest characters are widened first.
    """
    full_widths = [max([cell_len(heading), *map(cell_len, column)]) for heading, column in zip(headings, cells, strict=True)]
    widths, spare = list(min_widths), room - sum(min_widths)
    for number in sorted(range(len(min_widths)), key=lambda number: full_widths[number] - min_widths[number]):
        extra = min(spare, full_widths[number] - widths[number])
        widths[number] += extra
        spare -= extra
    return widths


def _text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _are_figures(cells: Iterable[str]) -> bool:
    """Whether each is a figure, with or without its unit, or the dash or blank of one that is missing."""
    return all(FIGURE_PATTERN.fullmatch(cell) for cell in cells)
