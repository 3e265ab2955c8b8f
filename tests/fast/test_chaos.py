"""What a chaos run is to send and whom it is to kill when, drawn before it starts."""

from datetime import date

from common.installed import find_vertical
from common.simulation.fuzz import TIMESTAMPS
from loadtests.chaos.expected import digest, known
from loadtests.chaos.kill_plan import BROKER, DRIVERS, PARTITIONS, planned

FINANCE = find_vertical("finance_fraud")
WORLD = FINANCE.population(**FINANCE.small)
START = date(2020, 1, 31)


def sent(events):
    """The first records that `generate` sends, with what they are."""
    found = []
    for chunk in FINANCE.generate(3, START, 30, WORLD):
        found += zip(chunk.messages.values.tolist(), chunk.messages.flaw.tolist(), strict=True)
        if len(found) >= events:
            return found[:events]


def test_every_record_that_is_sent_is_known_as_valid_or_rejected():
    expected, records = known(FINANCE, 3, START, 30, WORLD, 2_000, 0), sent(2_000)
    assert expected.records == len(records) == 2_000
    assert expected.values == [value for value, flaw in records if not flaw]
    assert sum(expected.rejected[digest(value)] > 0 for value, flaw in records if flaw) == expected.rejected.total() > 0
    assert len(set(expected.ids)) == len(expected.ids)
    assert expected.labels > 0


def test_fuzz_is_the_same_for_a_seed_and_none_of_it_has_a_known_id():
    one, other = (known(FINANCE, 3, START, 30, WORLD, 1_000, 200) for _ in range(2))
    assert list(one.fuzz) == list(other.fuzz) == list(one.fuzz)
    assert len(one.fuzz) == len(list(one.fuzz)) == 200
    assert not {digest(value) for value in one.fuzz} & {digest(value) for value in one.values}


def test_fuzz_comes_in_odd_keys_headers_and_timestamps_the_same_for_a_seed():
    one, other = (known(FINANCE, 3, START, 30, WORLD, 1_000, 2_000).fuzz for _ in range(2))
    records = list(one.records())
    assert records == list(other.records()) and [value for value, _ in records] == list(one)
    around = [envelope for _, envelope in records]
    assert {None, b""} < {envelope.key for envelope in around} and None in {value for value, _ in records}
    assert set(TIMESTAMPS) <= {envelope.timestamp for envelope in around}
    assert all(-(1 << 63) <= envelope.timestamp < 1 << 63 for envelope in around)
    assert {None, b""} < {value for envelope in around for _, value in envelope.headers}


def test_kills_are_spread_over_the_run_and_named_by_its_seed():
    kills = planned(5, 100.0, drivers=4, brokers=2)
    assert kills == planned(5, 100.0, 4, 2) != planned(6, 100.0, 4, 2)
    assert sorted(kill.victim for kill in kills) == sorted([*DRIVERS, *DRIVERS, BROKER, BROKER, PARTITIONS])
    assert [int(kill.at // 25) for kill in kills if kill.victim in DRIVERS] == [0, 1, 2, 3]
    assert [int(kill.at // 50) for kill in kills if kill.victim == BROKER] == [0, 1]
    assert [33 < kill.at < 67 for kill in kills if kill.victim == PARTITIONS] == [True]
