"""Reads a file of documents in another format, one JSON document or one a line, and sends their translations."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from common.errors import UserError, first_line
from common.intake.translation import BYTE_ORDER_MARK, IntakeCounts, Translator
from common.kafka.producers import Producer

LINE_ENDINGS = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")  # of the names of files that have a document a line
MAX_BYTES = 64 << 20  # of one document or line
GZIP = b"\x1f\x8b"  # how a packed file begins


class IntakeError(UserError):
    """A file or topic cannot be taken in; the message says why, and what to do."""


def translate_file(
    path: Path, translator: Translator, producer: Producer, counts: IntakeCounts, progress: Callable[[], None] = lambda: None
) -> None:
    """Translate and send the documents in `path`; returns when Kafka has acknowledged all. Raises IntakeError, DeliveryFailed.

    counts: filled as Kafka acknowledges, so that it is right whatever ends this. progress is called after each document.
    """
    for text in documents(path):
        record = translator.translate(None, text)
        producer.send(translator.topic, record.key, record.value, on_delivery=partial(counts.add, record))
        progress()
    producer.flush()


def documents(path: Path) -> Iterator[bytes]:
    """The texts of the documents in a file, packed by gzip or not. Raises IntakeError.

    There is one a line where the file's name says so or its first line is a JSON object by itself, blank lines left out;
    otherwise the file is one document. One that holds others (a FHIR Bundle) is one here: here is the place to take it apart.
    """
    try:
        with path.open("rb") as raw_file:
            is_packed = raw_file.peek(len(GZIP)).startswith(GZIP)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw_file)) if is_packed else raw_file
            lines = _lines(file, path)
            first_line_bytes = next(lines, b"")
            if path.name.lower().endswith(LINE_ENDINGS) or _problem_of(first_line_bytes) is None:
                yield from [first_line_bytes] if first_line_bytes else []
                yield from lines
            elif first_line_bytes:
                yield _one_document(first_line_bytes + b"\n" + file.read(MAX_BYTES), path)
    except (OSError, EOFError, zlib.error) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else first_line(problem)
        raise IntakeError(f"{path} cannot be read: {reason}") from None


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Lines that are not blank, without their ends."""
    while line := file.readline(MAX_BYTES + 1):
        if len(line) > MAX_BYTES:
            raise _too_large(path)
        if not line.isspace():
            yield line.rstrip(b"\r\n")


def _one_document(text: bytes, path: Path) -> bytes:
    if len(text) > MAX_BYTES:
        raise _too_large(path)
    if problem := _problem_of(text):
        raise IntakeError(f"{path} is neither one JSON document nor one a line: {problem}; a file of lines is named .ndjson")
    return text


def _problem_of(text: bytes) -> str | None:
    """Why a text is not one JSON object; None where it is."""
    try:
        document = orjson.loads(text.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as problem:
        return str(problem)
    if isinstance(document, list):
        return "it is an array (jq -c '.[]' writes one document a line)"
    return None if isinstance(document, dict) else "it is another JSON value"


def _too_large(path: Path) -> IntakeError:
    return IntakeError(f"{path} has a document of more than {MAX_BYTES >> 20} MB: give smaller ones")
