"""Reads rows of files from elsewhere, in batches of bounded memory, without losing any.

A batch is a dictionary of columns of plain Python values: str, int, float, bool, Decimal, None, bytes (text that is not
UTF-8), dicts and lists. Times are ISO-8601 text in UTC. CSV cells are unchanged text; an empty one is None.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from common.errors import UserError, first_line
from common.replay.delimited import DelimitedRows

BATCH_ROWS = 8_192
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".json": "jsonl", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
MAX_LINE_BYTES = 64 << 20


class ReplayError(UserError):
    """A file cannot be replayed; the message says what is wrong with it, or with the options that describe it."""


@dataclass
class RowBatch:
    """Some rows of a file. unreadable: the bytes of lines that are no rows; they are sent after the others."""

    columns: dict[str, list[Any]]
    rows: int
    unreadable: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class RowFile:
    """A CSV, JSON lines or Parquet file. columns: their names (JSON lines: those of the first 1,000 rows)."""

    path: Path
    format: str
    columns: tuple[str, ...]

    def batches(self, columns: list[str]) -> Iterator[RowBatch]:
        """The rows in file order, with these columns; raises ReplayError where the file is broken."""
        read = {"csv": _csv_batches, "jsonl": _json_batches, "parquet": _parquet_batches}[self.format]
        try:
            yield from read(self.path, columns)
        except (OSError, pa.ArrowException, EOFError) as error:
            raise ReplayError(f"{self.path} cannot be read as {self.format}: {_error_text(error)}") from None


def open_rows(path: Path) -> RowFile:
    """The file at `path`, of the format that its suffix names (text may end in .gz as well); raises ReplayError."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    is_packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[:-1][-1:] if is_packed else suffixes[-1:])
    file_format = SUFFIXES.get(suffix)
    if file_format is None or (is_packed and file_format == "parquet"):
        raise ReplayError(f"{path}: the name must end in one of {', '.join(SUFFIXES)}, which is its format (text also with .gz)")
    columns = {"csv": _csv_columns, "jsonl": _json_columns, "parquet": _parquet_columns}[file_format]
    try:
        with path.open("rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise ReplayError(f"{path} is UTF-16: convert it to UTF-8 first")
        return RowFile(path, file_format, tuple(columns(path)))
    except (OSError, pa.ArrowException, EOFError) as error:
        raise ReplayError(f"{path} cannot be read as {file_format}: {_error_text(error)}") from None


def _error_text(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)


def _read_lines(path: Path) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression="detect") as stream:
        partial_line = b""
        while block := stream.read(1 << 20):
            *lines, partial_line = (partial_line + block).split(b"\n")
            yield from lines
            if len(partial_line) > MAX_LINE_BYTES:
                raise ReplayError(f"{path} has a line of more than {MAX_LINE_BYTES >> 20} MB: it is not a text file of rows")
        if partial_line:
            yield partial_line


def _csv_columns(path: Path) -> list[str]:
    header = _read_csv(path).header
    if not header:
        raise ReplayError(f"{path} is empty: a CSV file begins with the names of its columns")
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise ReplayError(f"{path} has more than one column named {', '.join(repeated)}")
    return header


def _read_csv(path: Path) -> DelimitedRows:
    try:
        return DelimitedRows(_read_lines(path))
    except csv.Error as error:
        raise ReplayError(f"{path} does not begin with the names of its columns: {error}") from None


def _csv_batches(path: Path, names: list[str]) -> Iterator[RowBatch]:
    delimited = _read_csv(path)
    row_iterator, positions = iter(delimited), [delimited.header.index(name) for name in names]
    while block := list(islice(row_iterator, BATCH_ROWS)):
        cells = [row for row in block if isinstance(row, list)]
        columns = {name: [row[position] for row in cells] for name, position in zip(names, positions, strict=True)}
        yield RowBatch(columns, len(cells), [row for row in block if isinstance(row, bytes)])


def _json_columns(path: Path) -> list[str]:
    if next((line for line in _read_lines(path) if line.strip()), b"").lstrip().startswith(b"["):
        raise ReplayError(f"{path} is one JSON array: give a file of one object a line (jq -c '.[]' makes one)")
    objects = [value for line in islice(_read_lines(path), 1_000) if isinstance(value := _parse_json(line), dict)]
    if not objects:
        raise ReplayError(f"{path} has no JSON object in its first 1,000 lines: give a file of one object a line")
    return list(dict.fromkeys(name for value in objects for name in value))


def _json_batches(path: Path, names: list[str]) -> Iterator[RowBatch]:
    lines = (line for line in _read_lines(path) if line.strip())
    while block := list(islice(lines, BATCH_ROWS)):
        values = [(line, _parse_json(line)) for line in block]
        rows = [value for _, value in values if isinstance(value, dict)]
        unreadable = [line for line, value in values if not isinstance(value, dict)]
        yield RowBatch({name: [row.get(name) for row in rows] for name in names}, len(rows), unreadable)


def _parse_json(line: bytes) -> Any:
    """The JSON value of a line, None if it is not JSON. Unlike faster parsers, json keeps integers of any length exact."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _parquet_columns(path: Path) -> list[str]:
    with pa.parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _parquet_batches(path: Path, names: list[str]) -> Iterator[RowBatch]:
    with pa.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            yield RowBatch({name: _plain_values(batch.column(name)) for name in names}, batch.num_rows)


def _plain_values(cells: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(cells.type):
        # A zone in the type means the instants are UTC; without one they are taken as UTC.
        times = cells.cast(pa.timestamp("ms", cells.type.tz), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return _iso_times(times, cells.is_null().to_pylist())
    if pa.types.is_date(cells.type) or pa.types.is_time(cells.type):
        return cells.cast(pa.string()).to_pylist()
    if pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type):
        return [None if cell is None else _decode(cell) for cell in cells.to_pylist()]
    return list(cells.to_pylist())


def _iso_times(times: np.ndarray, are_missing: list[bool]) -> list[str | None]:
    without_nulls = np.where(are_missing, 0, times).astype("int64").astype("datetime64[ms]")
    texts = np.datetime_as_string(without_nulls, unit="ms").tolist()
    return [None if is_missing else text + "Z" for text, is_missing in zip(texts, are_missing, strict=True)]


def _decode(cell: bytes) -> str | bytes:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell
