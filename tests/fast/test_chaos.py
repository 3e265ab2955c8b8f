"""What a chaos run will send and its kill schedule, both computed before it starts."""

from datetime import date

from common.installed import find_vertical
from common.simulation.fuzz import TIMESTAMPS
from loadtests.chaos.expected import digest, expect_records
from loadtests.chaos.kill_plan import BROKER, DRIVERS, PARTITIONS, draw_kills
from loadtests.simulation_spec import SimulationSpec

FINANCE = find_vertical("finance_fraud")
SIMULATION = SimulationSpec(FINANCE.population(**FINANCE.small), seed=3, start=date(2020, 1, 31))


def first_records(events):
    """The first records that `generate` sends, with what they are."""
    records = []
    for chunk in FINANCE.generate(SIMULATION.seed, SIMULATION.start, 30, SIMULATION.population):
        records += zip(chunk.messages.values.tolist(), chunk.messages.flaw.tolist(), strict=True)
        if len(records) >= events:
            return records[:events]


def test_every_record_that_is_sent_is_expected_as_valid_or_rejected():
    expected, records = expect_records(FINANCE, SIMULATION, 2_000, 0), first_records(2_000)
    assert expected.count == len(records) == 2_000
    assert expected.values == [value for value, flaw in records if not flaw]
    assert sum(expected.rejected[digest(value)] > 0 for value, flaw in records if flaw) == expected.rejected.total() > 0
    assert len(set(expected.ids)) == len(expected.ids)
    assert expected.labels > 0


def test_fuzz_is_the_same_for_a_seed_and_none_of_it_has_an_expected_id():
    expected, again = (expect_records(FINANCE, SIMULATION, 1_000, 200) for _ in range(2))
    assert list(expected.fuzz) == list(again.fuzz) == list(expected.fuzz)
    assert len(expected.fuzz) == len(list(expected.fuzz)) == 200
    assert not {digest(value) for value in expected.fuzz} & {digest(value) for value in expected.values}


def test_fuzz_comes_in_odd_keys_headers_and_timestamps_the_same_for_a_seed():
    fuzz, same_fuzz = (expect_records(FINANCE, SIMULATION, 1_000, 2_000).fuzz for _ in range(2))
    records = list(fuzz.records())
    assert records == list(same_fuzz.records()) and [value for value, _ in records] == list(fuzz)
    envelopes = [envelope for _, envelope in records]
    assert {None, b""} < {envelope.key for envelope in envelopes} and None in {value for value, _ in records}
    assert set(TIMESTAMPS) <= {envelope.timestamp for envelope in envelopes}
    assert all(-(1 << 63) <= envelope.timestamp < 1 << 63 for envelope in envelopes)
    assert {None, b""} < {value for envelope in envelopes for _, value in envelope.headers}


def test_kills_are_spread_over_the_run_and_named_by_its_seed():
    kills = draw_kills(5, 100.0, drivers=4, brokers=2)
    assert kills == draw_kills(5, 100.0, 4, 2) != draw_kills(6, 100.0, 4, 2)
    assert sorted(kill.victim for kill in kills) == sorted([*DRIVERS, *DRIVERS, BROKER, BROKER, PARTITIONS])
    assert [int(kill.at_seconds // 25) for kill in kills if kill.victim in DRIVERS] == [0, 1, 2, 3]
    assert [int(kill.at_seconds // 50) for kill in kills if kill.victim == BROKER] == [0, 1]
    assert [33 < kill.at_seconds < 67 for kill in kills if kill.victim == PARTITIONS] == [True]
