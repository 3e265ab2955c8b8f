"""Which contracts can be compiled, and what the error says of the others."""

import pytest
from pyspark.sql import types as T

from common.contract import ContractError, check_contract
from finance_fraud.events import CONTRACT, ENTITY, EVENT_ID, EVENT_SCHEMA, EVENT_TIME

SCHEMA = T.StructType(
    [
        T.StructField("reading_id", T.StringType()),
        T.StructField("watts", T.DoubleType()),
        T.StructField("phases", T.LongType()),
        T.StructField("started", T.TimestampType()),
    ]
)


def expect(name, **kwargs):
    return {"type": name, "kwargs": kwargs}


def test_the_finance_contract_compiles_with_missing_fields_first():
    expectations = check_contract(EVENT_SCHEMA, CONTRACT, (EVENT_ID, ENTITY, EVENT_TIME))
    reasons = [expectation.kind.reason for expectation in expectations]
    assert len(expectations) == len(CONTRACT)
    assert reasons == sorted(reasons, key=lambda reason: reason != "missing_field")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (expect("expect_column_values_to_be_betwen", column="watts"), "did you mean expect_column_values_to_be_between"),
        (expect("expect_column_mean_to_be_between", column="watts"), "supported are expect_column_values_to_not_be_null"),
        (expect("expect_column_values_to_be_between", column="watts", min=0), "unknown argument 'min'.*min_value"),
        (expect("expect_column_values_to_be_between", column="wats", min_value=0), "no field 'wats' .did you mean watts"),
        (expect("expect_column_values_to_be_between", column="watts"), "needs min_value, max_value or both"),
        (expect("expect_column_values_to_be_between", column="watts", min_value="0"), "'0' is no bound for .* double"),
        (expect("expect_column_values_to_be_between", column="started", min_value="yesterday"), "'yesterday' is no bound"),
        (expect("expect_column_values_to_be_between", column="started", min_value="2026-01-01"), "no bound"),
        (expect("expect_column_values_to_be_between", column="reading_id", min_value=0), "does not apply to reading_id"),
        (expect("expect_column_values_to_be_between", column="watts", min_value=0, mostly=0.9), "takes no mostly"),
        (expect("expect_column_values_to_not_be_null"), "needs the argument 'column'"),
        (expect("expect_column_values_to_be_in_set", column="phases", value_set=[]), "at least one value"),
        (expect("expect_column_values_to_be_in_set", column="phases", value_set=[1, "3"]), "'3' is never in"),
        (expect("expect_column_values_to_match_regex", column="reading_id", regex="["), "cannot be read"),
        (expect("expect_column_values_to_match_regex", column="watts", regex="."), "does not apply to watts"),
        (expect("expect_column_pair_values_a_to_be_greater_than_b", column_A="watts", column_B="started"), "cannot be compared"),
        (expect("expect_column_values_to_not_be_null", column="watts") | {"kwarg": 1}, "unknown entry 'kwarg'"),
        ({"kwargs": {"column": "watts"}}, "not supported"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(entry, message):
    with pytest.raises(ContractError, match=message):
        check_contract(SCHEMA, [entry])


def test_remarks_of_great_expectations_are_let_through():
    entry = expect("expect_column_values_to_not_be_null", column="watts") | {"meta": {"owner": "grid"}, "severity": "warning"}
    assert len(check_contract(SCHEMA, [entry])) == 1


def test_an_event_needs_its_id_entity_and_time():
    with pytest.raises(ContractError, match="reading_id: add expect_column_values_to_not_be_null"):
        check_contract(SCHEMA, [], ("reading_id",))


@pytest.mark.parametrize(
    ("name", "data_type", "message"),
    [
        ("tags", T.ArrayType(T.StringType()), "type array<string> is not supported"),
        ("topic", T.StringType(), "the core has a column of that name"),
        ("Raw", T.StringType(), "the core has a column of that name"),
        ("a b", T.StringType(), "ASCII letters"),
        ("_text", T.StringType(), "a letter first"),
    ],
)
def test_a_field_that_cannot_travel_is_refused(name, data_type, message):
    with pytest.raises(ContractError, match=message):
        check_contract(T.StructType([T.StructField(name, data_type)]), [])
