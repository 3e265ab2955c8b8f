"""CSV as others write it: a row that cannot be taken apart is handed on as the bytes it is, and reading goes on after it."""

import csv
import re
from collections import deque
from collections.abc import Iterator

DELIMITERS = ",;\t|"
QUOTED = re.compile(r'"[^"]*"')

Cells = list[str | bytes | None]


class DelimitedRows:
    """The rows under a header line: each its cells, or the bytes of a line that is no row. Blank lines are not rows.

    An empty cell is None; one that is not UTF-8 is bytes. Within quotes a row may span lines; if it then turns out to be
    no row (a quote is never closed, say), only its first line counts as none, and the next line is read afresh.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        first = next((line for line in lines if line.strip()), b"").removeprefix(b"\xef\xbb\xbf")
        plain = QUOTED.sub("", first.decode("utf-8", "replace"))
        self._lines = _Lines(first, lines)
        self._records = csv.reader(self._lines, delimiter=max(DELIMITERS, key=plain.count), strict=True)
        self.header = next(self._records, [])

    def __iter__(self) -> Iterator[Cells | bytes]:
        while True:
            self._lines.begin_record()
            try:
                cells = next(self._records)
            except StopIteration:
                return
            except csv.Error:
                cells = []
            if cells and len(cells) == len(self.header):
                yield [as_read(cell) for cell in cells] if self._lines.undecodable else [cell or None for cell in cells]
            elif (line := self._lines.give_back_all_but_first()).strip():
                yield line


class _Lines:
    """Lines as text, remembering those of the present record so that they can be read again."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._ahead = deque([first] if first else [])
        self._rest = rest
        self.begin_record()

    def begin_record(self) -> None:
        self._taken: list[bytes] = []
        self.undecodable = False

    def give_back_all_but_first(self) -> bytes:
        self._ahead.extendleft(reversed(self._taken[1:]))
        return self._taken[0]

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._rest)
        self._taken.append(line)
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError:
            self.undecodable = True
            return line.decode("utf-8", "surrogateescape") + "\n"


def as_read(cell: str) -> str | bytes | None:
    """The cell as text, or as its bytes where those are not UTF-8."""
    read = cell.encode("utf-8", "surrogateescape")
    try:
        return read.decode() or None
    except UnicodeDecodeError:
        return read
