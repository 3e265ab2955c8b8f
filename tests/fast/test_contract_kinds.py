"""Each kind of expectation exists in every target: Spark, Python, JSON Schema and great-expectations, and each says the same."""

import dataclasses
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pyspark.sql import types as T

from common.contract import argument_checks, json_keywords, python_conditions, spark_conditions
from common.contract.json_schema import event_schema
from common.contract.kinds import KINDS, MISSING_FIELD, ExpectationKind
from common.contract.python_parser import PythonContract

TARGETS = {
    "problem": argument_checks, "spark": spark_conditions, "python": python_conditions, "json": json_keywords,
}  # fmt: skip
SCHEMA = T.StructType(
    [
        T.StructField("reading_id", T.StringType()),
        T.StructField("meter_id", T.StringType()),
        T.StructField("unit", T.StringType()),
        T.StructField("low", T.DoubleType()),
        T.StructField("high", T.LongType()),
        T.StructField("event_time", T.TimestampType()),
    ]
)
REQUIRED = tuple(
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}}
    for name in ("reading_id", "meter_id", "event_time")
)
EVENT = {"reading_id": "r1", "meter_id": "m1", "unit": "kWh", "low": 1.0, "high": 2, "event_time": "2026-01-01T00:00:00Z"}
NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
# An example of each kind: its arguments, fields that meet it, fields that fail it, and its keywords of JSON Schema.
EXAMPLES = {
    "expect_column_values_to_not_be_null": ({"column": "unit"}, {"unit": "kWh"}, {"unit": None}, {}),
    "expect_column_values_to_be_between": (
        {"column": "low", "min_value": 0, "strict_min": True, "max_value": 5}, {"low": 5}, {"low": 0},
        {"exclusiveMinimum": 0, "maximum": 5}),
    "expect_column_values_to_be_in_set": (
        {"column": "unit", "value_set": ["kWh", "MWh"]}, {"unit": "MWh"}, {"unit": "J"}, {"enum": ["kWh", "MWh"]}),
    "expect_column_values_to_match_regex": (
        {"column": "unit", "regex": "^[kM]Wh$"}, {"unit": "MWh"}, {"unit": "GWh"}, {"pattern": "^[kM]Wh$"}),
    "expect_column_value_lengths_to_be_between": (
        {"column": "unit", "max_value": 3}, {"unit": "kWh"}, {"unit": "kilo"}, {"maxLength": 3}),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        {"column_A": "high", "column_B": "low", "or_equal": True}, {"high": 1}, {"high": 0}, {}),
}  # fmt: skip


def vertical(*expectations):
    return SimpleNamespace(
        name="energy_grid",
        event_schema=SCHEMA,
        contract=(*REQUIRED, *expectations),
        event_id="reading_id",
        entity="meter_id",
        event_time="event_time",
        pseudonymised=(),
        formats={},
    )


def test_every_kind_has_an_example_here():
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_a_function_of_its_own_for_every_target(name):
    for target, module in TARGETS.items():
        function = getattr(KINDS[name], target)
        assert function.__module__ == module.__name__, f"{name} has no {target}"
    for target in ("spark", "python", "json"):
        functions = [getattr(kind, target) for kind in KINDS.values()]
        assert len(set(functions)) == len(KINDS), f"two kinds have the same {target}"


def test_no_target_may_be_left_out_of_a_kind():
    for field in dataclasses.fields(ExpectationKind):
        assert field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING, field.name


@pytest.mark.parametrize("name", KINDS)
def test_python_takes_what_meets_a_kind_and_refuses_what_fails_it_for_its_reason(name):
    kwargs, meets, fails, _ = EXAMPLES[name]
    contract = PythonContract(vertical({"type": name, "kwargs": kwargs}))
    assert contract.is_valid(EVENT | meets, NOW)
    assert not contract.is_valid(EVENT | fails, NOW)
    assert contract.validate_object(EVENT | fails, NOW).reason == KINDS[name].reason


@pytest.mark.parametrize("name", KINDS)
def test_json_schema_says_of_a_field_what_it_can_of_a_kind(name):
    kwargs, _, _, keywords = EXAMPLES[name]
    assert KINDS[name].json(kwargs) == keywords
    schema = event_schema(vertical({"type": name, "kwargs": kwargs}))
    is_required = KINDS[name].reason == MISSING_FIELD
    assert ("unit" in schema["required"]) is is_required
    for field in () if is_required or not keywords else (kwargs["column"],):
        assert keywords.items() <= schema["properties"][field]["anyOf"][0].items()


def test_great_expectations_has_every_kind_under_its_name_with_its_arguments(monkeypatch):
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")  # read at import
    import great_expectations as gx

    for name, kind in KINDS.items():
        expectation = getattr(gx.expectations, "".join(word.capitalize() for word in name.split("_")))
        assert {*kind.required_arguments, *kind.optional_arguments} <= set(expectation.__fields__), name
        assert expectation(**EXAMPLES[name][0]).configuration.type == name
