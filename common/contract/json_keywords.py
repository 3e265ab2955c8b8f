"""Expectations as keywords of JSON Schema for a field; empty where JSON Schema has none for it."""

from typing import Any

from common.contract.argument_checks import Kwargs

Keywords = dict[str, Any]

BOUND_KEYWORDS = {
    ("min_value", False): "minimum",
    ("min_value", True): "exclusiveMinimum",
    ("max_value", False): "maximum",
    ("max_value", True): "exclusiveMaximum",
}


def not_null(kwargs: Kwargs) -> Keywords:
    """The schema of the whole event lists the field as required."""
    return {}


def between(kwargs: Kwargs) -> Keywords:
    """Bounds of numbers; JSON Schema has none for times."""
    bounds = {name: kwargs.get(name) for name in ("min_value", "max_value")}
    return {
        BOUND_KEYWORDS[name, bool(kwargs.get(f"strict_{name[:3]}"))]: bound
        for name, bound in bounds.items()
        if isinstance(bound, int | float)
    }


def in_set(kwargs: Kwargs) -> Keywords:
    return {"enum": list(kwargs["value_set"])}


def matches_regex(kwargs: Kwargs) -> Keywords:
    return {"pattern": kwargs["regex"]}


def length_between(kwargs: Kwargs) -> Keywords:
    lengths = {"minLength": kwargs.get("min_value"), "maxLength": kwargs.get("max_value")}
    return {name: value for name, value in lengths.items() if value is not None}


def a_greater_than_b(kwargs: Kwargs) -> Keywords:
    """JSON Schema cannot compare two fields."""
    return {}
