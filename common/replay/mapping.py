"""Which columns of a file, or which constant, are which field of an event."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import did_you_mean
from common.replay.conversion import as_text
from common.replay.files import ReplayError, RowFile
from common.vertical import Vertical

LONGEST_JOINED = 64  # characters; what is longer is hashed, as contracts bound the length of ids


@dataclass(frozen=True)
class Source:
    """Where a field's values come from: one column, several joined by "|" as text, or no column but a constant."""

    columns: tuple[str, ...]
    constant: str | None = None

    def values(self, columns: Mapping[str, list], rows: int, convert: Callable[[Any], Any]) -> list:
        """A value per row, converted for its field."""
        if self.constant is not None:
            return [convert(self.constant)] * rows
        if len(self.columns) == 1:
            return [convert(value) for value in columns[self.columns[0]]]
        rows_of_parts = zip(*(columns[name] for name in self.columns), strict=True)
        joined = ("|".join("" if part is None else str(as_text(part)) for part in parts) for parts in rows_of_parts)
        return [convert(_bounded(text)) for text in joined]


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_JOINED else hashlib.sha256(text.encode()).hexdigest()[:32]


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """{event field: what it takes} of texts such as "card_id=CUSTOMER_ID"; raises ReplayError.

    "id=Invoice+Line" joins columns, "kind==purchase" gives every row the same value.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise ReplayError(f"mapping {pair!r} is not event_field=column")
        if field in mapping:
            raise ReplayError(f"mapping names the event field {field!r} twice")
        mapping[field] = column
    return mapping


def resolve(vertical: Vertical, file: RowFile, mapping: Mapping[str, str]) -> dict[str, Source]:
    """The source of each event field that has one: as mapped, else the column of the field's own name.

    Raises ReplayError for a field or column that does not exist and for required fields without a column.
    """
    fields = vertical.event_schema.fieldNames()
    sources = {name: _source(taken, file) for name, taken in mapping.items()}
    for name, source in sources.items():
        require(name, fields, f"an event of {vertical.name} has no field")
        for column in source.columns:
            require(column, file.columns, f"{file.path} has no column")
    found = {name: sources.get(name, Source((name,))) for name in fields if name in sources or name in file.columns}
    missing = [name for name in required(vertical) if name not in found]
    if missing:
        raise ReplayError(
            f"no column is mapped to {', '.join(missing)}, required in an event of {vertical.name}:"
            f" add {' '.join(f'{name}=COLUMN' for name in missing)}; columns of {file.path}: {', '.join(file.columns)}"
        )
    return found


def _source(taken: str, file: RowFile) -> Source:
    if taken in file.columns:
        return Source((taken,))
    if taken.startswith("="):
        return Source((), taken[1:])
    return Source(tuple(taken.split("+")))


def required(vertical: Vertical) -> list[str]:
    """The event's fields without which every event would be invalid, in the schema's order."""
    needed = {vertical.event_id, vertical.entity, vertical.event_time}
    needed |= {field.name for field in vertical.event_schema if not field.nullable}
    needed |= {
        expectation["kwargs"]["column"]
        for expectation in vertical.contract
        if expectation["type"] == "expect_column_values_to_not_be_null"
    }
    return [name for name in vertical.event_schema.fieldNames() if name in needed]


def require(name: str, known: Iterable[str], complaint: str) -> None:
    """Raise ReplayError, with what there is and the closest match, unless `name` is among `known`."""
    known = list(known)
    if name in known:
        return
    raise ReplayError(f"{complaint} {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")
