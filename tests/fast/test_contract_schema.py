"""A vertical whose events the core cannot hold is refused when it is loaded, with the field and what to do."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from pyspark.sql import types as T

from common import installed
from common.contract import ContractError
from common.contract.schema import REMEDIES, check_vertical
from common.errors import UserError
from common.installed import find_vertical

FINANCE = find_vertical("finance_fraud")
POSITION = T.StructType().add("lat", "double").add("lon", "double")


def with_field(name, kind):
    fields = [field for field in FINANCE.event_schema if field.name != name]
    return replace(FINANCE, event_schema=T.StructType([*fields, T.StructField(name, kind)]))


def refused(vertical):
    with pytest.raises(ContractError) as refusal:
        check_vertical(vertical)
    return str(refusal.value)


@pytest.mark.parametrize("kind", [
    POSITION, T.ArrayType(POSITION), T.MapType(T.StringType(), T.LongType()), T.DateType(), T.TimestampNTZType(),
    T.DecimalType(10, 2), T.FloatType(), T.ShortType(), T.ByteType(), T.BinaryType(),
], ids=lambda kind: kind.simpleString())  # fmt: skip
def test_a_type_that_the_core_does_not_take(kind):
    message = refused(with_field("place", kind))
    remedy = next(remedy for of, remedy in REMEDIES if isinstance(kind, of))
    assert message.startswith(f"vertical finance_fraud, events.py: field place: type {kind.simpleString()} is not supported")
    assert message.endswith(remedy)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("event_time", T.LongType(), ("cannot be the event_time", "milliseconds since 1970")),
        ("event_time", T.DoubleType(), ("cannot be the event_time", "milliseconds since 1970")),
        ("event_time", T.StringType(), ("cannot be the event_time", "ISO 8601")),
        ("transaction_id", T.LongType(), ("cannot be the event_id", "use string")),
        ("card_id", T.LongType(), ("cannot be the entity", "use string")),
    ],
)
def test_a_field_that_cannot_be_what_it_is_named_as(name, kind, words):
    message = refused(with_field(name, kind))
    assert f"field {name}: type {kind.simpleString()}" in message and all(word in message for word in words)


def test_a_field_that_is_not_there_and_a_contract_that_cannot_be_compiled():
    assert "event_id is to be field 'id'" in refused(replace(FINANCE, event_id="id"))
    assert "add expect_column_values_to_not_be_null" in refused(replace(FINANCE, contract=()))


def test_it_is_told_where_the_vertical_is_loaded_and_to_a_person(monkeypatch):
    broken = SimpleNamespace(name="broken", load=lambda: with_field("place", POSITION))
    monkeypatch.setattr(installed, "entry_points", lambda group: [broken])
    with pytest.raises(UserError, match="field place: type struct<lat:double,lon:double>"):
        find_vertical("broken")
