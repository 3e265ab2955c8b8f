"""Messages: JSON bytes, duplicates, broken ones, order of arrival."""

import json
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.simulation.dirt import FLAWS, DirtyFields
from common.simulation.generated_events import EventColumns, GeneratedEvents, reorder_by_arrival, split_day, with_messages
from common.simulation.messages import encode_rows, iso_times, make_messages, object_array, split_messages

FIELDS = DirtyFields(number="amount", out_of_range=-1.0, required="place", time="time")
EVENT_COLUMNS = EventColumns("id", "who", "time", timedelta(days=7))
DAY = date(2026, 3, 2)


def sent(size=40_000, fields=FIELDS):
    times = np.datetime64("2026-03-02T00:00", "ms") + np.arange(size)
    names = [str(number) for number in range(size)]
    values = encode_rows({"id": names, "place": ["x"] * size, "amount": [1.5] * size, "time": iso_times(times)})
    return make_messages(np.random.default_rng(1), times, object_array([name.encode() for name in names]), values, fields)


def with_flaw(messages, flaw):
    return messages.take(messages.flaw == flaw)


def refuse(constant):
    raise ValueError(constant)


def strictly(value):
    return json.loads(value.decode(), parse_constant=refuse)


def chunk(day, hours, hours_late, scenario=None):
    """Events at given hours of a day, each arriving some hours later."""
    time = np.datetime64(day, "ms") + np.array(hours, "timedelta64[h]")
    names = object_array([f"{day.day}-{hour}" for hour in hours])
    columns = {"id": names, "who": names, "amount": np.ones(len(hours)), "time": time}
    marks = object_array(scenario or [""] * len(hours))
    arrival_time = time + np.array(hours_late, "timedelta64[h]")
    return with_messages(1, GeneratedEvents.from_columns(day, columns, marks, arrival_time, EVENT_COLUMNS), EVENT_COLUMNS, None)


def ids(generated):
    return [json.loads(value)["id"] for value in generated.messages.values]


def test_times_have_milliseconds_and_a_z():
    assert iso_times(np.array(["2026-04-01T12:00:00.123"], "datetime64[ms]")) == ["2026-04-01T12:00:00.123Z"]


def test_nan_becomes_null_and_text_is_escaped():
    encoded = encode_rows({"a": [float("nan"), 1.5], "b": ['q"', "é"]}).tolist()
    assert encoded == [b'{"a":null,"b":"q\\""}', '{"a":1.5,"b":"é"}'.encode()]


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_whatever_is_encoded_can_be_read_back(rows):
    text, number = map(list, zip(*rows, strict=True))
    assert [(event["t"], event["n"]) for event in map(json.loads, encode_rows({"t": text, "n": number}))] == rows


def test_every_event_is_sent_once_and_sorted_by_arrival():
    messages = sent()
    assert len(with_flaw(messages, "")) == 40_000
    assert (np.diff(messages.arrival_time).astype(int) >= 0).all()


def test_one_in_a_hundred_is_sent_again_shortly_after_byte_for_byte():
    messages = sent()
    copies = with_flaw(messages, "duplicate")
    originals = with_flaw(messages, "")
    first = dict(zip(originals.values, originals.arrival_time, strict=True))
    after = (copies.arrival_time - np.array([first[value] for value in copies.values])).astype(int)
    assert ((after > 0) & (after <= 20_000)).all()
    assert abs(len(copies) - 400) <= 5 * np.sqrt(400)


def test_one_in_two_hundred_is_broken_in_every_way():
    messages = sent()
    broken = messages.take(np.isin(messages.flaw, FLAWS))
    assert abs(len(broken) - 200) <= 5 * np.sqrt(200)
    assert set(broken.flaw) == set(FLAWS)


def test_without_dirt_each_is_sent_exactly_once():
    assert sent(fields=None).flaw.tolist() == [""] * 40_000


def test_a_valid_event_follows_its_broken_attempt():
    messages = sent()
    valid = {key: row for row, key in enumerate(messages.keys) if messages.flaw[row] == ""}
    assert all(valid[messages.keys[row]] > row for row in np.flatnonzero(np.isin(messages.flaw, FLAWS)))


@pytest.mark.parametrize("flaw", ["undecodable", "truncated", "not_a_number"])
def test_some_flaws_leave_no_json(flaw):
    for value in with_flaw(sent(), flaw).values:
        with pytest.raises(ValueError):
            strictly(value)


@pytest.mark.parametrize(
    ("flaw", "is_wrong"),
    [
        ("wrong_type", lambda event: isinstance(event["amount"], str)),
        ("missing_field", lambda event: "place" not in event),
        ("unknown_field", lambda event: set(event) - {"id", "place", "amount", "time"}),
        ("out_of_range", lambda event: event["amount"] == -1.0),
        ("future_time", lambda event: event["time"] > "2035"),
    ],
)
def test_other_flaws_are_json_with_one_thing_wrong(flaw, is_wrong):
    assert all(is_wrong(strictly(value)) for value in with_flaw(sent(), flaw).values)


def test_labels_are_the_anomalous_rows_and_known_a_week_later():
    labels = chunk(DAY, [1, 2, 3], [0, 0, 0], ["", "odd", ""]).labels.to_pylist()
    time = labels[0]["event_time"]
    assert labels == [
        {
            "event_id": "2-2",
            "entity_id": "2-2",
            "scenario": "odd",
            "case_id": "2-2",
            "event_time": time,
            "known_time": time + timedelta(days=7),
        }
    ]


def test_a_message_two_days_late_is_sent_two_days_later():
    second, third = DAY + timedelta(days=1), DAY + timedelta(days=2)
    days = [chunk(DAY, [1, 12], [48, 0]), chunk(second, [1], [0]), chunk(third, [0, 2], [0, 0])]
    assert [ids(day) for day in reorder_by_arrival(days)] == [["2-12"], ["3-1"], ["4-0", "2-1", "4-2"]]


def test_stragglers_come_in_a_last_chunk_without_events():
    first, last = reorder_by_arrival([chunk(DAY, [1, 23], [0, 2])])
    assert (ids(first), ids(last)) == (["2-1"], ["2-23"])
    assert (last.events.num_rows, last.labels.num_rows) == (0, 0)


def test_a_large_day_is_sent_in_parts_that_keep_order_moments_and_labels():
    hours = [0, 1, 1, 1, 2, 3, 3, 4]
    late = [0, 0, 3, 0, 0, 0, 30, 0]
    marks = ["", "", "odd", "", "", "odd", "", ""]
    time = np.datetime64(DAY, "ms") + np.array(hours, "timedelta64[h]")
    names = object_array([f"e{number}" for number in range(len(hours))])
    columns = {"id": names, "who": names, "amount": np.ones(len(hours)), "time": time}
    day = GeneratedEvents.from_columns(DAY, columns, object_array(marks), time + np.array(late, "timedelta64[h]"), EVENT_COLUMNS)
    parts = list(split_day(day, EVENT_COLUMNS, rows=3))
    assert [part.events["id"].to_pylist() for part in parts] == [["e0"], ["e1", "e2", "e3", "e4"], ["e5", "e6", "e7"]]
    assert [part.labels["event_id"].to_pylist() for part in parts] == [[], ["e2"], ["e5"]]
    sent = list(reorder_by_arrival(with_messages(1, part, EVENT_COLUMNS, None) for part in parts))
    assert [ids(part) for part in sent] == [["e0"], ["e1", "e3", "e4"], ["e5", "e2", "e7"], ["e6"]]
    assert [part.day for part in sent] == [DAY, DAY, DAY, DAY + timedelta(days=1)]


def test_a_day_without_events_is_one_part():
    [part] = split_day(chunk(DAY, [], []), EVENT_COLUMNS)
    assert (part.events.num_rows, part.end) == (0, np.datetime64(DAY + timedelta(days=1)))


@given(st.lists(st.integers(0, 5), max_size=4), st.integers(0, 20))
def test_chunks_are_split_at_a_message(sizes, at):
    unsplit = sent(sum(sizes), None)
    ends = np.cumsum([0, *sizes])
    chunks = [unsplit.take(slice(begin, end)) for begin, end in pairwise(ends)]
    first, following = ([value for chunk in part for value in chunk.values] for part in split_messages(chunks, at))
    assert first == unsplit.values[:at].tolist() and following == unsplit.values[at:].tolist()
