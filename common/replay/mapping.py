"""Maps columns of a file, or constants, to the fields of an event."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import did_you_mean
from common.replay.conversion import as_text
from common.replay.files import ReplayError, RowFile
from common.vertical import Vertical

MAX_JOINED_CHARACTERS = 64  # longer texts are hashed, as contracts limit the length of ids


@dataclass(frozen=True)
class FieldSource:
    """The source of a field's values: one column, several joined by "|" as text, or a constant without a column."""

    columns: tuple[str, ...]
    constant: str | None = None

    def values(self, columns: Mapping[str, list], rows: int, convert: Callable[[Any], Any]) -> list:
        """A value per row, converted for its field."""
        if self.constant is not None:
            return [convert(self.constant)] * rows
        if len(self.columns) == 1:
            return [convert(value) for value in columns[self.columns[0]]]
        rows_of_parts = zip(*(columns[name] for name in self.columns), strict=True)
        texts = ("|".join("" if part is None else str(as_text(part)) for part in parts) for parts in rows_of_parts)
        return [convert(_bound_length(text)) for text in texts]


def _bound_length(text: str) -> str:
    return text if len(text) <= MAX_JOINED_CHARACTERS else hashlib.sha256(text.encode()).hexdigest()[:32]


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """{event field: its source, as text} from texts such as "card_id=CUSTOMER_ID"; raises ReplayError.

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


def resolve_mapping(vertical: Vertical, file: RowFile, mapping: Mapping[str, str]) -> dict[str, FieldSource]:
    """The source of each event field that has one: by the mapping, else the column of the field's own name.

    Raises ReplayError for a field or column that does not exist and for required fields without a column.
    """
    fields = vertical.event_schema.fieldNames()
    sources = {name: _parse_source(text, file) for name, text in mapping.items()}
    for name, source in sources.items():
        require_name(name, fields, f"an event of {vertical.name} has no field")
        for column in source.columns:
            require_name(column, file.columns, f"{file.path} has no column")
    resolved = {name: sources.get(name, FieldSource((name,))) for name in fields if name in sources or name in file.columns}
    missing = [name for name in required_fields(vertical) if name not in resolved]
    if missing:
        raise ReplayError(
            f"no column is mapped to {', '.join(missing)}, required in an event of {vertical.name}:"
            f" add {' '.join(f'{name}=COLUMN' for name in missing)}; columns of {file.path}: {', '.join(file.columns)}"
        )
    return resolved


def _parse_source(text: str, file: RowFile) -> FieldSource:
    if text in file.columns:
        return FieldSource((text,))
    if text.startswith("="):
        return FieldSource((), text[1:])
    return FieldSource(tuple(text.split("+")))


def required_fields(vertical: Vertical) -> list[str]:
    """The event's fields without which every event would be invalid, in the schema's order."""
    names = {vertical.event_id, vertical.entity, vertical.event_time}
    names |= {field.name for field in vertical.event_schema if not field.nullable}
    names |= {
        expectation["kwargs"]["column"]
        for expectation in vertical.contract
        if expectation["type"] == "expect_column_values_to_not_be_null"
    }
    return [name for name in vertical.event_schema.fieldNames() if name in names]


def require_name(name: str, names: Iterable[str], complaint: str) -> None:
    """Raise ReplayError, with the names that exist and the closest of them, unless `name` is among `names`."""
    names = list(names)
    if name in names:
        return
    raise ReplayError(f"{complaint} {name!r}{did_you_mean(name, names)}; there are: {', '.join(names)}")
