"""Reads CSV from elsewhere: a row that cannot be split into cells is given as its bytes, and reading goes on after it."""

import csv
import re
from collections import deque
from collections.abc import Iterator

DELIMITERS = ",;\t|"
QUOTED_TEXT = re.compile(r'"[^"]*"')

Cells = list[str | bytes | None]


class DelimitedRows:
    """The rows below a header line: each a list of cells, or the bytes of a line that is no row. Blank lines are left out.

    An empty cell is None; one that is not UTF-8 is bytes. Within quotes a row may span lines; if such a row turns out to be none
    (because a quote is never closed, say), only its first line is given as bytes, and the next line is read anew.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        header_line = next((line for line in lines if line.strip()), b"").removeprefix(b"\xef\xbb\xbf")
        unquoted = QUOTED_TEXT.sub("", header_line.decode("utf-8", "replace"))
        self._lines = _RereadableLines(header_line, lines)
        self._records = csv.reader(self._lines, delimiter=max(DELIMITERS, key=unquoted.count), strict=True)
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
                yield [decode_cell(cell) for cell in cells] if self._lines.undecodable else [cell or None for cell in cells]
            elif (line := self._lines.give_back_all_but_first()).strip():
                yield line


class _RereadableLines:
    """Lines as text; those of the present record are kept, so that they can be read again."""

    def __init__(self, header_line: bytes, later_lines: Iterator[bytes]) -> None:
        self._pending_lines = deque([header_line] if header_line else [])
        self._later_lines = later_lines
        self.begin_record()

    def begin_record(self) -> None:
        self._record_lines: list[bytes] = []
        self.undecodable = False

    def give_back_all_but_first(self) -> bytes:
        self._pending_lines.extendleft(reversed(self._record_lines[1:]))
        return self._record_lines[0]

    def __iter__(self) -> "_RereadableLines":
        return self

    def __next__(self) -> str:
        line = self._pending_lines.popleft() if self._pending_lines else next(self._later_lines)
        self._record_lines.append(line)
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError:
            self.undecodable = True
            return line.decode("utf-8", "surrogateescape") + "\n"


def decode_cell(cell: str) -> str | bytes | None:
    """The cell as text, or as its bytes where those are not UTF-8."""
    cell_bytes = cell.encode("utf-8", "surrogateescape")
    try:
        return cell_bytes.decode() or None
    except UnicodeDecodeError:
        return cell_bytes
