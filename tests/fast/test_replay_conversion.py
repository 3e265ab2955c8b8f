"""Values are converted where that is exact, and sent as they are where it is not: no row is lost, and no digit."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as T

from common.replay.conversion import as_number, as_text, as_time, as_whole, converter_for, epoch_milliseconds, iso_time, to_json
from common.replay.delimited import DelimitedRows

TYPES = [T.StringType(), T.DoubleType(), T.LongType(), T.IntegerType(), T.BooleanType(), T.TimestampType()]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
NO_TIMES = [
    "yesterday",
    "06/10/2018 12:00",
    "2026-13-01",
    "2026-02-30",
    "",
    "12",
    True,
    None,
    b"2026-01-01",
    math.nan,
    1e300,
    "9" * 400,
]


@given(ANYTHING, st.sampled_from(TYPES))
def test_any_value_of_any_file_becomes_one_line_of_json_for_any_field(value, field):
    line = to_json({"before": 1, "field": converter_for(field)(value)})
    assert isinstance(line, bytes)
    assert isinstance(json.loads(line.decode("utf-8", "replace")), dict)


@given(st.integers())
def test_an_id_keeps_every_digit(number):
    assert as_text(number) == as_text(Decimal(number)) == str(number)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_id_that_became_a_float_beside_a_missing_one_loses_its_point(number):
    assert as_text(float(number)) == str(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_means_the_same_as_text(number):
    assert as_number(repr(number)) == number


@given(st.text())
def test_text_that_is_no_finite_number_stays_as_it_is_or_is_a_special_value(text):
    converted = as_number(text)
    assert converted is text or isinstance(converted, float)
    if isinstance(converted, float) and math.isfinite(converted):
        assert converted == float(text) and "_" not in text


@pytest.mark.parametrize("text", ["1_000", "1,5", "0x10", "1e400", "١٢", "", "NA", "--1", "1 2"])
def test_what_python_or_a_guess_would_take_for_a_number_stays_text(text):
    assert as_number(text) is text


@given(st.integers(), st.sampled_from([8, 16, 32, 64]))
def test_a_whole_number_stays_one_within_its_bits_and_is_text_beyond(number, bits):
    converted = as_whole(number, 1 << bits - 1)
    assert converted == (number if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else str(number))


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28)), st.integers(-14, 14))
def test_an_instant_means_the_same_in_every_zone_and_to_the_millisecond(moment, hours):
    local = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
    expected = moment.isoformat(timespec="milliseconds") + "Z"
    assert as_time(local.isoformat()) == as_time(moment.isoformat(" ")) == expected


@given(st.integers(10**11, 10**14 - 1))
def test_epoch_numbers_mean_the_same_in_every_unit(instant):
    for value in (instant, str(instant), Decimal(instant), instant * 1_000, instant * 10**6):
        assert epoch_milliseconds(value) == instant
    assert epoch_milliseconds(instant // 1_000) == instant // 1_000 * 1_000 or instant // 1_000 >= 10**11
    assert epoch_milliseconds(iso_time(instant)) == instant


@pytest.mark.parametrize("value", NO_TIMES)
def test_what_is_no_time_stays_as_it_is(value):
    assert epoch_milliseconds(value) is None
    assert as_time(value) is value


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=30))
def test_every_line_of_a_csv_file_is_in_a_row_or_handed_on_as_it_is(lines):
    rows = list(DelimitedRows(iter([b"a,b", *lines])))
    # Blank lines are not rows, and a quoted line break joins two lines into one row.
    assert sum(1 for line in lines if line.strip()) >= len(rows)
    assert all(row in lines for row in rows if isinstance(row, bytes))
    plain = [line for line in lines if line.strip() and b'"' not in line and b"\r" not in line]
    if len(plain) == sum(1 for line in lines if line.strip()):
        assert len(rows) == len(plain)


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))), max_size=20))
def test_quoted_cells_come_back_whatever_they_hold(rows):
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    lines = "\n".join(["a,b", *quoted]).encode().split(b"\n")
    assert list(DelimitedRows(iter(lines))) == [[cell or None for cell in row] for row in rows]
