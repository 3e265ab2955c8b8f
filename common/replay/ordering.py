"""Sorts records by time in bounded memory: in memory if they fit, else by merging sorted runs on disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.replay.files import ReplayError

CHUNK_ROWS = 8_192
RUN_BYTES = 256 << 20
RECORD_SCHEMA = pa.schema([("time", pa.int64()), ("is_label", pa.bool_()), ("key", pa.binary()), ("value", pa.binary())])


@dataclass(frozen=True)
class Records:
    """Records to send, in order of `arrival_time` (datetime64[ms]); is_label: those for the labels topic."""

    arrival_time: NDArray[np.datetime64]
    is_label: NDArray[np.bool_]
    keys: list[bytes | None]
    values: list[bytes]

    def __len__(self) -> int:
        return len(self.values)


def sort_by_time(tables: Iterable[pa.Table], run_bytes: int = RUN_BYTES) -> Iterator[Records]:
    """All rows of `tables` (of RECORD_SCHEMA) by time; rows of the same time stay in their order.

    More than `run_bytes` of them are sorted in a temporary folder, which holds them once.
    """
    with TemporaryDirectory(prefix="replay-") as folder:
        runs: list[Path] = []
        unsorted: list[pa.Table] = []
        size = 0
        for table in tables:
            unsorted.append(table)
            size += table.nbytes
            if size > run_bytes:
                runs.append(_write_run(_sort(unsorted), Path(folder) / f"run-{len(runs)}.arrow"))
                unsorted, size = [], 0
        rows_by_time = _iterate_rows(_sort(unsorted).to_batches(CHUNK_ROWS))
        if runs:
            rows_by_time = merge(*(_iterate_rows(_read_run(run)) for run in runs), rows_by_time, key=itemgetter(0))
        while rows := list(islice(rows_by_time, CHUNK_ROWS)):
            times, is_label, keys, values = zip(*rows, strict=True)
            yield Records(np.array(times, "int64").astype("datetime64[ms]"), np.array(is_label), list(keys), list(values))


def _sort(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables([RECORD_SCHEMA.empty_table(), *tables]).combine_chunks()
    return table.take(np.argsort(table["time"].to_numpy(), kind="stable"))


def _write_run(table: pa.Table, path: Path) -> Path:
    try:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, RECORD_SCHEMA) as run:
            run.write_table(table, CHUNK_ROWS)
    except OSError as error:
        reason = error.strerror or error
        raise ReplayError(f"cannot sort in {path.parent} ({reason}): set TMPDIR to a folder on a disk with more room") from None
    return path


def _read_run(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file:
        run = pa.ipc.open_file(file)
        for index in range(run.num_record_batches):
            yield run.get_batch(index)


def _iterate_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, bool, bytes | None, bytes]]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
