"""Reading rows of files that others made, in batches of bounded memory, losing none of them.

A batch is a dictionary of columns of plain Python values: str, int, float, bool, Decimal, None, bytes (text that is not
UTF-8), dicts and lists. Times are ISO-8601 text in UTC. CSV cells are text as it stands; an empty one is None.
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
MOST_LINE_BYTES = 64 << 20


class ReplayError(UserError):
    """A file cannot be replayed; the message says what is wrong with it or with how it was described."""


@dataclass
class Batch:
    """Some rows of a file. unreadable: the bytes of rows that are no rows, which come after the others."""

    columns: dict[str, list[Any]]
    rows: int
    unreadable: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class RowFile:
    """A CSV, JSON lines or Parquet file. columns: what it has (JSON lines: what its first 1,000 rows have)."""

    path: Path
    format: str
    columns: tuple[str, ...]

    def batches(self, wanted: list[str]) -> Iterator[Batch]:
        """The rows in file order, with the columns in `wanted`; raises ReplayError where the file is broken."""
        read = {"csv": _csv_batches, "jsonl": _json_batches, "parquet": _parquet_batches}[self.format]
        try:
            yield from read(self.path, wanted)
        except (OSError, pa.ArrowException, EOFError) as error:
            raise ReplayError(f"{self.path} cannot be read as {self.format}: {_reason(error)}") from None


def open_rows(path: Path) -> RowFile:
    """What is at `path`, by its suffix (CSV and JSON lines may end in .gz as well); raises ReplayError."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[:-1][-1:] if packed else suffixes[-1:])
    kind = SUFFIXES.get(suffix)
    if kind is None or (packed and kind == "parquet"):
        raise ReplayError(f"{path}: the format is told by the name's ending, one of {', '.join(SUFFIXES)} (text also with .gz)")
    columns = {"csv": _csv_columns, "jsonl": _json_columns, "parquet": _parquet_columns}[kind]
    try:
        with path.open("rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise ReplayError(f"{path} is UTF-16: convert it to UTF-8 first")
        return RowFile(path, kind, tuple(columns(path)))
    except (OSError, pa.ArrowException, EOFError) as error:
        raise ReplayError(f"{path} cannot be read as {kind}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)


def _lines(path: Path) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression="detect") as packed:
        rest = b""
        while block := packed.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > MOST_LINE_BYTES:
                raise ReplayError(f"{path} has a line of more than {MOST_LINE_BYTES >> 20} MB: it is not a text file of rows")
        if rest:
            yield rest


def _csv_columns(path: Path) -> list[str]:
    header = _csv_rows(path).header
    if not header:
        raise ReplayError(f"{path} is empty: a CSV file begins with the names of its columns")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ReplayError(f"{path} has more than one column named {', '.join(twice)}")
    return header


def _csv_rows(path: Path) -> DelimitedRows:
    try:
        return DelimitedRows(_lines(path))
    except csv.Error as error:
        raise ReplayError(f"{path} does not begin with the names of its columns: {error}") from None


def _csv_batches(path: Path, wanted: list[str]) -> Iterator[Batch]:
    found = _csv_rows(path)
    rows, places = iter(found), [found.header.index(name) for name in wanted]
    while block := list(islice(rows, BATCH_ROWS)):
        cells = [row for row in block if isinstance(row, list)]
        columns = {name: [row[place] for row in cells] for name, place in zip(wanted, places, strict=True)}
        yield Batch(columns, len(cells), [row for row in block if isinstance(row, bytes)])


def _json_columns(path: Path) -> list[str]:
    if next((line for line in _lines(path) if line.strip()), b"").lstrip().startswith(b"["):
        raise ReplayError(f"{path} is one JSON array: what is read here is one object a line (jq -c '.[]' makes it so)")
    objects = [found for line in islice(_lines(path), 1_000) if isinstance(found := _object(line), dict)]
    if not objects:
        raise ReplayError(f"{path} has no JSON object in its first 1,000 lines: one object a line is what is read here")
    return list(dict.fromkeys(name for found in objects for name in found))


def _json_batches(path: Path, wanted: list[str]) -> Iterator[Batch]:
    lines = (line for line in _lines(path) if line.strip())
    while block := list(islice(lines, BATCH_ROWS)):
        parsed = [(line, _object(line)) for line in block]
        rows = [found for _, found in parsed if isinstance(found, dict)]
        unreadable = [line for line, found in parsed if not isinstance(found, dict)]
        yield Batch({name: [row.get(name) for row in rows] for name in wanted}, len(rows), unreadable)


def _object(line: bytes) -> Any:
    """The JSON value on a line, None if it is not JSON. Unlike faster parsers, json keeps integers of any length exact."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _parquet_columns(path: Path) -> list[str]:
    with pa.parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _parquet_batches(path: Path, wanted: list[str]) -> Iterator[Batch]:
    with pa.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            yield Batch({name: _values(batch.column(name)) for name in wanted}, batch.num_rows)


def _values(cells: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(cells.type):
        # A zone in the type means the instants are UTC; without one they are taken as UTC.
        times = cells.cast(pa.timestamp("ms", cells.type.tz), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return _iso(times, cells.is_null().to_pylist())
    if pa.types.is_date(cells.type) or pa.types.is_time(cells.type):
        return cells.cast(pa.string()).to_pylist()
    if pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type):
        return [None if cell is None else _text_or_bytes(cell) for cell in cells.to_pylist()]
    return list(cells.to_pylist())


def _iso(times: np.ndarray, missing: list[bool]) -> list[str | None]:
    filled = np.where(missing, 0, times).astype("int64").astype("datetime64[ms]")
    texts = np.datetime_as_string(filled, unit="ms").tolist()
    return [None if gone else text + "Z" for text, gone in zip(texts, missing, strict=True)]


def _text_or_bytes(cell: bytes) -> str | bytes:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell
