"""Which column of a file is which field of an event."""

import difflib
from collections.abc import Iterable, Mapping

from common.ingestion.files import ReplayError, RowFile
from common.vertical import Vertical


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """{event field: column} of texts such as "card_id=CUSTOMER_ID"; raises ReplayError."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise ReplayError(f"mapping {pair!r} is not event_field=column")
        if field in mapping:
            raise ReplayError(f"mapping names the event field {field!r} twice")
        mapping[field] = column
    return mapping


def resolve(vertical: Vertical, file: RowFile, mapping: Mapping[str, str]) -> dict[str, str]:
    """The column of each event field that has one: as mapped, else the column of the field's own name.

    Raises ReplayError for a field or column that does not exist and for required fields without a column.
    """
    fields = vertical.event_schema.fieldNames()
    for name, column in mapping.items():
        require(name, fields, f"an event of {vertical.name} has no field")
        require(column, file.columns, f"{file.path} has no column")
    found = {name: mapping.get(name, name) for name in fields if name in mapping or name in file.columns}
    missing = [name for name in required(vertical) if name not in found]
    if missing:
        raise ReplayError(
            f"no column is mapped to {', '.join(missing)}, required in an event of {vertical.name}:"
            f" add {' '.join(f'{name}=COLUMN' for name in missing)}; columns of {file.path}: {', '.join(file.columns)}"
        )
    return found


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
    close = {one.lower(): one for one in known}
    match = difflib.get_close_matches(name.lower(), close, n=1)
    hint = f" (did you mean {close[match[0]]!r}?)" if match else ""
    raise ReplayError(f"{complaint} {name!r}{hint}; there are: {', '.join(known)}")
