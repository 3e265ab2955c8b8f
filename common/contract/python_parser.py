"""Applies the contract in plain Python, for the gateway and the intake, which check one event at a time and have no Spark.

The same expectations as in `spark_parser` are compiled to one function a vertical, which is quick enough for every event of a
busy gateway. It says yes or no; the reason is found afterwards, in the order of the stream's checks. A test runs both parsers
over the same records.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from pyspark.sql import types as T

from common.contract.expectations import Expectation, check_contract
from common.contract.python_conditions import type_test, variable
from common.contract.strict_json import Constant, MalformedJson, Pairs, read_object, read_time
from common.contract.times import EARLIEST_EVENT, TimeBounds
from common.formats import Untranslatable
from common.vertical import Vertical

# Texts that Spark reads as a number that is not finite, where a double is expected.
NOT_FINITE = {"NaN", "+INF", "-INF", "Infinity", "+Infinity", "-Infinity"}
DISCREET_DETAIL = "not shown, as it may name a person"
UNTRANSLATABLE = "untranslatable"  # the reason for a document in another format of which no event can be made

Event = Mapping[str, Any]
Failure = tuple[str, str]  # reason and detail


class ValidEvent(NamedTuple):
    """A valid event's id and entity, and the bytes that carry it."""

    event_id: str
    entity: str
    value: bytes


class InvalidEvent(NamedTuple):
    """Why an event is not valid, in the stream's words; its id where it could be read."""

    event_id: str | None
    reason: str
    detail: str


class _ParsedEvent(NamedTuple):
    """An event as it is checked: names and values as written, as a dictionary, and as its columns would hold the values."""

    pairs: Pairs
    values: dict[str, Any]
    columns: dict[str, Any]  # None where a value is not of its column's type
    latest: datetime


class PythonContract:
    """A vertical's contract, compiled. `is_valid(event, latest)` takes a JSON object as orjson reads it."""

    def __init__(self, vertical: Vertical, bounds: TimeBounds | None = None) -> None:
        required = (vertical.event_id, vertical.entity, vertical.event_time)
        self._vertical = vertical
        self._bounds = bounds or TimeBounds()
        self._expectations = check_contract(vertical.event_schema, vertical.contract, required)
        self._conditions = [_compile_condition(expectation, vertical.event_schema) for expectation in self._expectations]
        self._converters = {field.name: _converter(field.dataType) for field in vertical.event_schema}
        self.is_valid = _compile(vertical, self._expectations, self._bounds)
        # An invalid event's reason is that of the first check that fails: the order is the stream's (`spark_parser`).
        self._checks: tuple[Callable[[_ParsedEvent], Failure | None], ...] = (
            self._check_finite, self._check_constants, self._check_types, self._check_duplicates, self._check_unknown,
            self._check_expectations, self._check_event_time,
        )  # fmt: skip

    def latest_event_time(self) -> datetime:
        """The latest time that an event may have which comes in now."""
        now = datetime.now(UTC)
        # A record's Kafka timestamp, against which the stream checks, is in whole milliseconds.
        return now.replace(microsecond=now.microsecond // 1000 * 1000) + self._bounds.future_allowance

    def validate(self, raw: bytes, latest: datetime) -> ValidEvent | InvalidEvent:
        """The stream's verdict on this event if it comes in now, or on the event made of a document in another format."""
        try:
            event = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return self._validate_strictly(raw, latest)
        if type(event) is dict:
            if self.is_valid(event, latest) and has_distinct_names(raw, len(event)):
                return self._valid_event(event, raw)
            for document_format in self._vertical.formats.values():
                try:
                    translation = document_format.translate(event)
                except Untranslatable as problem:
                    document_id = None if self._vertical.event_id in self._vertical.pseudonymised else problem.document_id
                    detail = f"no event can be made of this {document_format.title}: {problem}"
                    return InvalidEvent(document_id, UNTRANSLATABLE, detail)
                if translation is not None:
                    return self._validate_translation(translation, latest)
        return self._validate_strictly(raw, latest)

    def validate_object(self, event: dict[str, Any], latest: datetime) -> ValidEvent | InvalidEvent:
        """The verdict on an object as orjson reads it; the valid event has its text as orjson writes it."""
        raw = orjson.dumps(event)
        return self._valid_event(event, raw) if self.is_valid(event, latest) else self.validate(raw, latest)

    def _validate_translation(self, event: dict[str, Any], latest: datetime) -> ValidEvent | InvalidEvent:
        """The verdict on an event made of a document in another format; the valid event has its own text."""
        raw = orjson.dumps(event)
        if self.is_valid(event, latest):
            return self._valid_event(event, raw)
        return self._validate_pairs(Pairs(event.items()), raw, latest)

    def _valid_event(self, event: Event, raw: bytes) -> ValidEvent:
        return ValidEvent(event[self._vertical.event_id], event[self._vertical.entity], raw)

    def _validate_strictly(self, raw: bytes, latest: datetime) -> ValidEvent | InvalidEvent:
        """Validates with the strict JSON reader, which also accepts some JSON that orjson does not."""
        try:
            return self._validate_pairs(read_object(raw), raw, latest)
        except UnicodeDecodeError:
            return InvalidEvent(None, "undecodable", "the value is not UTF-8")
        except MalformedJson as problem:
            return InvalidEvent(None, "malformed_json", self._discreet(f"not one JSON object: {problem}"))

    def _validate_pairs(self, pairs: Pairs, raw: bytes, latest: datetime) -> ValidEvent | InvalidEvent:
        """The verdict by each check in turn, with the reason and detail of the first that fails."""
        event = dict(pairs)
        columns = {name: convert(event.get(name)) for name, convert in self._converters.items()}
        parsed_event = _ParsedEvent(pairs, event, columns, latest)
        failure = next((failure for check in self._checks if (failure := check(parsed_event))), None)
        if failure is None:
            return ValidEvent(_utf8(event[self._vertical.event_id]), _utf8(event[self._vertical.entity]), raw)
        event_id, names_someone = event.get(self._vertical.event_id), self._vertical.event_id in self._vertical.pseudonymised
        reason, detail = failure
        return InvalidEvent(_utf8(event_id) if isinstance(event_id, str) and not names_someone else None, reason, _utf8(detail))

    def _check_finite(self, event: _ParsedEvent) -> Failure | None:
        for field in self._vertical.event_schema:
            if isinstance(field.dataType, T.DoubleType) and _is_not_finite(event.values.get(field.name)):
                return "not_finite", f"{field.name} is no finite number"
        return None

    def _check_constants(self, event: _ParsedEvent) -> Failure | None:
        if any(isinstance(value, Constant) for value in event.values.values()):
            return "malformed_json", "not one JSON object: NaN or Infinity in the place of a value"
        return None

    def _check_types(self, event: _ParsedEvent) -> Failure | None:
        for field in self._vertical.event_schema:
            value = event.values.get(field.name)
            if event.columns[field.name] is None and value is not None:
                type_text = "ISO 8601 time with zone" if _is_time(field) else field.dataType.simpleString()
                return "wrong_type", self._discreet(f"{field.name}: {type_text} expected, found {_excerpt(value)}")
        return None

    def _check_duplicates(self, event: _ParsedEvent) -> Failure | None:
        return ("duplicate_field", "a name is there twice") if len(event.values) < len(event.pairs) else None

    def _check_unknown(self, event: _ParsedEvent) -> Failure | None:
        unknown = [name for name in event.values if name not in event.columns]
        return ("unknown_field", self._discreet(f"unknown: {_excerpt(', '.join(unknown))}")) if unknown else None

    def _check_expectations(self, event: _ParsedEvent) -> Failure | None:
        for expectation, is_met in zip(self._expectations, self._conditions, strict=True):
            if not is_met(event.columns):
                values = ", ".join(f"{name} = {_excerpt(event.values.get(name))}" for name in expectation.columns)
                return expectation.kind.reason, self._discreet(f"{values} fails {expectation}", f"fails {expectation}")
        return None

    def _check_event_time(self, event: _ParsedEvent) -> Failure | None:
        event_time = event.columns[self._vertical.event_time]
        if event_time < EARLIEST_EVENT:
            return "out_of_range", f"before {EARLIEST_EVENT.isoformat()}"
        if event_time > event.latest:
            return "future_event_time", "ahead of the time it came in"
        if event_time < self._bounds.earliest(event.latest):
            return "too_old", f"it came in more than {self._bounds.oldest_days} days later"
        return None

    def _discreet(self, detail: str, discreet_detail: str = DISCREET_DETAIL) -> str:
        """The detail, or in its place another where an event names a person."""
        return discreet_detail if self._vertical.pseudonymised else detail


def has_distinct_names(raw: bytes, names: int) -> bool:
    """Whether flat JSON certainly has exactly `names` names, none twice: of two equal names orjson silently keeps the last.

    It is quick, and false where it cannot be certain: with escapes, or white space before a colon.
    """
    # Without escapes a quote followed by a colon ends a name.
    return raw.count(b'":') == names and not any(ambiguous in raw for ambiguous in (b"\\", b" :", b"\t:", b"\n:", b"\r:"))


def _compile(vertical: Vertical, expectations: tuple[Expectation, ...], bounds: TimeBounds) -> Callable[[Event, datetime], bool]:
    """One function with some lines for each field: a call for each expectation would cost more than its comparisons."""
    names = frozenset(vertical.event_schema.names)
    constants: dict[str, Any] = {"read_time": read_time, "NAMES": names, "EARLIEST": EARLIEST_EVENT, "earliest": bounds.earliest}
    lines = ["def is_valid(event, latest):", "    get = event.get"]
    for field in vertical.event_schema:
        of_field = [expectation for expectation in expectations if expectation.columns == [field.name]]
        is_required = any(expectation.is_required_field for expectation in of_field)
        column = variable(field.name)
        tests = [type_test(field.dataType, column)]
        tests += [expectation.python_condition(constants) for expectation in of_field if not expectation.is_required_field]
        lines += [
            f"    {column} = get({field.name!r})",
            f"    if {column} is None:",
            f"        {'return False' if is_required else 'pass'}",
            f"    elif not ({' and '.join(tests)}):",
            "        return False",
        ]
    of_pairs = [expectation for expectation in expectations if len(expectation.columns) > 1]
    lines += [f"    if not ({expectation.python_condition(constants)}): return False" for expectation in of_pairs]
    earliest = "earliest(latest)" if bounds.oldest_days else "EARLIEST"
    lines += [f"    return {earliest} <= {variable(vertical.event_time)} <= latest and event.keys() <= NAMES"]
    exec("\n".join(lines), constants)
    is_valid: Callable[[Event, datetime], bool] = constants["is_valid"]
    return is_valid


def _compile_condition(expectation: Expectation, schema: T.StructType) -> Callable[[Event], bool]:
    """One expectation as a function of an event's column values; a null meets all but that a field is required."""
    constants: dict[str, Any] = {}
    test = expectation.python_condition(constants)
    if not expectation.is_required_field and len(expectation.columns) == 1:
        test = f"{variable(expectation.columns[0])} is None or {test}"
    is_met: Callable[..., bool] = eval(f"lambda {', '.join(map(variable, schema.names))}: {test}", constants)
    return lambda columns: is_met(*(columns[name] for name in schema.names))


def _converter(data_type: T.DataType) -> Callable[[Any], Any]:
    """A function from a JSON value to its column's value; None where it is not of that type."""
    if isinstance(data_type, T.TimestampType):
        return lambda value: read_time(value) if isinstance(value, str) else None
    test = type_test(data_type, "value")
    convert: Callable[[Any], Any] = eval(f"lambda value: value if value is not None and {test} else None")
    return convert


def _is_not_finite(value: Any) -> bool:
    if isinstance(value, str):
        return value in NOT_FINITE
    try:
        return isinstance(value, int | float) and not abs(float(value)) < float("inf")
    except OverflowError:
        return True


def _utf8(text: str) -> str:
    """The text as the stream reads it: half a surrogate pair, which JSON can write and UTF-8 cannot, becomes a question mark."""
    return text.encode(errors="replace").decode()


def _is_time(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.TimestampType)


def _excerpt(value: Any) -> str:
    return str(value)[:120]
