"""A table without lines for people: no word of it is ever broken, however narrow the terminal."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from common.monitoring.printable import printable

GAPS = (2, 1)  # between two columns; the narrower one where there is no room for the other
FIGURE = re.compile(r"|-|[+-]?\d[\d,]*(\.\d+)?(e[+-]\d+)?( ?[%\w/]+)?")


def plain_table(title: str, *columns: str) -> "PlainTable":
    table = PlainTable(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, caption_justify="left")
    table.show_header = any(columns)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    return table


class PlainTable(Table):
    """Figures to the right, words to the left, wrapped between words where there is no room for a whole line of them.

    Where there is no room for the longest words of all columns either, each row is written out, headings before figures.
    """

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """A text is shown as it is, whatever it holds: markup is for cells that are a `Text`."""
        super().add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[_text(cell) for cell in column._cells] for column in self.columns]
        headings = [_text(column.header) for column in self.columns]
        # The first column is what the row is about: it stays whole.
        least = [
            max(map(cell_len if number == 0 else _longest_word, [heading, *column]))
            for number, (heading, column) in enumerate(zip(headings, cells, strict=True))
        ]
        rooms = {gap: options.max_width - gap * (len(least) - 1) for gap in GAPS}
        gap = next((gap for gap, room in rooms.items() if sum(least) <= room), None)
        if gap is None:
            yield from self._written_out(headings, cells)
            return
        self.padding = (0, gap, 0, 0)
        for column, own, width in zip(self.columns, cells, _spread(least, headings, cells, rooms[gap]), strict=True):
            column.width, column.justify = width, "right" if _are_figures(own) else "left"
        yield from super().__rich_console__(console, options)

    def _written_out(self, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[Text]:
        if self.title:
            yield Text(_text(self.title), style="bold")
        for name, *values in zip_longest(*cells, fillvalue=""):
            said = [f"{heading} {value}".strip() for heading, value in zip(headings[1:], values, strict=True) if value]
            yield Text(f"{headings[0]} {name}: {', '.join(said)}".lstrip())
        if self.caption:
            yield Text(_text(self.caption), style="italic")


def _spread(least: Sequence[int], headings: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of `room` in all, between the least and what each column would like; those that lack least are served first."""
    wanted = [max([cell_len(heading), *map(cell_len, own)]) for heading, own in zip(headings, cells, strict=True)]
    widths, left = list(least), room - sum(least)
    for number in sorted(range(len(least)), key=lambda number: wanted[number] - least[number]):
        more = min(left, wanted[number] - widths[number])
        widths[number] += more
        left -= more
    return widths


def _text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _are_figures(cells: Iterable[str]) -> bool:
    """Whether each is a figure, with or without its unit, or stands for one that there is not."""
    return all(FIGURE.fullmatch(cell) for cell in cells)
