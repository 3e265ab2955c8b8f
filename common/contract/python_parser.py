"""The contract in plain Python, for a door that judges one event at a time and has no Spark.

The same expectations as `records`, compiled to one function a vertical, quick enough for every event of a busy door. It says
yes or no; why not is looked for afterwards, in the order of the stream's checks. A test runs both over the same records.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from pyspark.sql import types as T

from common.contract.expectations import Expectation, check_contract
from common.contract.python_conditions import predicate, type_test, variable
from common.contract.strict_json import Constant, MalformedJson, Pairs, read_object, read_time
from common.contract.times import EARLIEST_EVENT, TimeBounds
from common.formats import Untranslatable
from common.vertical import Vertical

# What Spark reads as a number that is not finite, where a double is expected.
NOT_FINITE = {"NaN", "+INF", "-INF", "Infinity", "+Infinity", "-Infinity"}
DISCREET = "not shown, as it may name a person"
UNTRANSLATABLE = "untranslatable"  # the reason of a document in another format that no event can be made of

Event = Mapping[str, Any]


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


class PythonContract:
    """A vertical's contract, compiled. `accepts(event, latest)` takes a JSON object as orjson reads it."""

    def __init__(self, vertical: Vertical, bounds: TimeBounds | None = None) -> None:
        required = (vertical.event_id, vertical.entity, vertical.event_time)
        self._vertical = vertical
        self._bounds = bounds or TimeBounds()
        self._expectations = check_contract(vertical.event_schema, vertical.contract, required)
        self._holds = [_alone(each, vertical.event_schema) for each in self._expectations]
        self._typed = {field.name: _typed(field.dataType) for field in vertical.event_schema}
        self.accepts = _compiled(vertical, self._expectations, self._bounds)

    def latest(self) -> datetime:
        """The latest event time that is no future at this moment."""
        now = datetime.now(UTC)
        # A record's Kafka timestamp, by which the stream judges, is in whole milliseconds.
        return now.replace(microsecond=now.microsecond // 1000 * 1000) + self._bounds.ahead

    def judge(self, raw: bytes, latest: datetime) -> ValidEvent | InvalidEvent:
        """What the stream will say of this event that comes in now, or of the one made of a document in another format."""
        try:
            event = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return self._explained(raw, latest)
        if type(event) is dict:
            if self.accepts(event, latest) and has_distinct_names(raw, len(event)):
                return self._accepted(event, raw)
            for other in self._vertical.formats.values():
                try:
                    translation = other.translate(event)
                except Untranslatable as problem:
                    document_id = None if self._vertical.event_id in self._vertical.pseudonymised else problem.document_id
                    return InvalidEvent(document_id, UNTRANSLATABLE, f"no event can be made of this {other.title}: {problem}")
                if translation is not None:
                    return self._judge_translated(translation, latest)
        return self._explained(raw, latest)

    def _judge_translated(self, event: dict[str, Any], latest: datetime) -> ValidEvent | InvalidEvent:
        """The verdict on an event that was made of a document in another format; what carries it is the event."""
        value = orjson.dumps(event)
        return self._accepted(event, value) if self.accepts(event, latest) else self._verdict(Pairs(event.items()), value, latest)

    def judge_object(self, event: dict[str, Any], latest: datetime) -> ValidEvent | InvalidEvent:
        """The same for an object as orjson reads it; what carries it is then its text as orjson writes it."""
        raw = orjson.dumps(event)
        return self._accepted(event, raw) if self.accepts(event, latest) else self.judge(raw, latest)

    def _accepted(self, event: Event, raw: bytes) -> ValidEvent:
        return ValidEvent(event[self._vertical.event_id], event[self._vertical.entity], raw)

    def _explained(self, raw: bytes, latest: datetime) -> ValidEvent | InvalidEvent:
        """A closer look, which may find nothing wrong: what orjson does not read may yet be JSON."""
        try:
            return self._verdict(read_object(raw), raw, latest)
        except UnicodeDecodeError:
            return InvalidEvent(None, "undecodable", "the value is not UTF-8")
        except MalformedJson as problem:
            return InvalidEvent(None, "malformed_json", self._discreetly(f"not one JSON object: {problem}"))

    def _verdict(self, pairs: Pairs, raw: bytes, latest: datetime) -> ValidEvent | InvalidEvent:
        event = dict(pairs)
        failed = self._first_failed(pairs, event, latest)
        if failed is None:
            return ValidEvent(_utf8(event[self._vertical.event_id]), _utf8(event[self._vertical.entity]), raw)
        event_id, names_someone = event.get(self._vertical.event_id), self._vertical.event_id in self._vertical.pseudonymised
        reason, detail = failed
        return InvalidEvent(_utf8(event_id) if isinstance(event_id, str) and not names_someone else None, reason, _utf8(detail))

    def _first_failed(self, pairs: Pairs, event: dict[str, Any], latest: datetime) -> tuple[str, str] | None:
        schema = self._vertical.event_schema
        for field in schema:
            if isinstance(field.dataType, T.DoubleType) and _is_not_finite(event.get(field.name)):
                return "not_finite", f"{field.name} is no finite number"
        if any(isinstance(value, Constant) for value in event.values()):
            return "malformed_json", "not one JSON object: NaN or Infinity in the place of a value"
        typed = {name: read(event.get(name)) for name, read in self._typed.items()}
        for field in schema:
            if typed[field.name] is None and event.get(field.name) is not None:
                expected = "ISO 8601 time with zone" if _is_time(field) else field.dataType.simpleString()
                return "wrong_type", self._discreetly(f"{field.name}: {expected} expected, found {_shown(event[field.name])}")
        if len(event) < len(pairs):
            return "duplicate_field", "a name is there twice"
        unknown = [name for name in event if name not in typed]
        if unknown:
            return "unknown_field", self._discreetly(f"unknown: {_shown(', '.join(unknown))}")
        for expectation, holds in zip(self._expectations, self._holds, strict=True):
            if not holds(typed):
                values = ", ".join(f"{name} = {_shown(event.get(name))}" for name in expectation.columns)
                return expectation.kind.reason, self._discreetly(f"{values} fails {expectation}", f"fails {expectation}")
        if typed[self._vertical.event_time] < EARLIEST_EVENT:
            return "out_of_range", f"before {EARLIEST_EVENT.isoformat()}"
        if typed[self._vertical.event_time] > latest:
            return "future_event_time", "ahead of the time it came in"
        if typed[self._vertical.event_time] < self._bounds.earliest(latest):
            return "too_old", f"it came in more than {self._bounds.oldest_days} days later"
        return None

    def _discreetly(self, detail: str, discreet: str = DISCREET) -> str:
        return discreet if self._vertical.pseudonymised else detail


def has_distinct_names(raw: bytes, names: int) -> bool:
    """Whether flat JSON certainly holds exactly `names` names, none twice: orjson keeps the last of two in silence.

    Quick, and not certain where there are escapes or white space before a colon.
    """
    # Without escapes a quote followed by a colon ends a name.
    return raw.count(b'":') == names and not any(odd in raw for odd in (b"\\", b" :", b"\t:", b"\n:", b"\r:"))


def _compiled(
    vertical: Vertical, expectations: tuple[Expectation, ...], bounds: TimeBounds
) -> Callable[[Event, datetime], bool]:
    """One function with a line or two a field: a call for each expectation would cost more than the comparisons."""
    known = frozenset(vertical.event_schema.names)
    constants: dict[str, Any] = {"read_time": read_time, "KNOWN": known, "EARLIEST": EARLIEST_EVENT, "earliest": bounds.earliest}
    lines = ["def accepts(event, latest):", "    get = event.get"]
    for field in vertical.event_schema:
        of_field, column = [each for each in expectations if each.columns == [field.name]], variable(field.name)
        required = any(each.kind.reason == "missing_field" for each in of_field)
        tests = [type_test(field.dataType, column)]
        tests += [predicate(each, constants) for each in of_field if each.kind.reason != "missing_field"]
        lines += [
            f"    {column} = get({field.name!r})",
            f"    if {column} is None:",
            f"        {'return False' if required else 'pass'}",
            f"    elif not ({' and '.join(tests)}):",
            "        return False",
        ]
    lines += [f"    if not ({predicate(each, constants)}): return False" for each in expectations if len(each.columns) > 1]
    earliest = "earliest(latest)" if bounds.oldest_days else "EARLIEST"
    lines += [f"    return {earliest} <= {variable(vertical.event_time)} <= latest and event.keys() <= KNOWN"]
    exec("\n".join(lines), constants)
    accepts: Callable[[Event, datetime], bool] = constants["accepts"]
    return accepts


def _alone(expectation: Expectation, schema: T.StructType) -> Callable[[Event], bool]:
    """One expectation over typed values, a null meeting all but the one that there is none."""
    constants: dict[str, Any] = {}
    test = predicate(expectation, constants)
    if expectation.kind.reason != "missing_field" and len(expectation.columns) == 1:
        test = f"{variable(expectation.columns[0])} is None or {test}"
    judged: Callable[..., bool] = eval(f"lambda {', '.join(map(variable, schema.names))}: {test}", constants)
    return lambda typed: judged(*(typed[name] for name in schema.names))


def _typed(data_type: T.DataType) -> Callable[[Any], Any]:
    """From a JSON value to what its column holds; None where it is none of that type."""
    if isinstance(data_type, T.TimestampType):
        return lambda value: read_time(value) if isinstance(value, str) else None
    typed: Callable[[Any], Any] = eval(f"lambda value: value if value is not None and {type_test(data_type, 'value')} else None")
    return typed


def _is_not_finite(value: Any) -> bool:
    if isinstance(value, str):
        return value in NOT_FINITE
    try:
        return isinstance(value, int | float) and not abs(float(value)) < float("inf")
    except OverflowError:
        return True


def _utf8(text: str) -> str:
    """As the stream reads it: half a surrogate pair, which JSON can write and UTF-8 cannot, becomes a question mark."""
    return text.encode(errors="replace").decode()


def _is_time(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.TimestampType)


def _shown(value: Any) -> str:
    return str(value)[:120]
