"""The cooldown of alerts: a storm is held back and counted, a rise in severity never is."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from common.alerts import SEVERITIES
from common.monitoring.cooldown import SWEEP_INTERVAL, Cooldown

SECONDS = 60.0
ALERT = st.tuples(
    st.sampled_from(["c1", "c2"]), st.sampled_from(["velocity", "spree"]), st.sampled_from(SEVERITIES), st.floats(0, 30)
)


def told(alerts):
    """(alert, when, whether it was let through) of alerts that are that many seconds apart, and the cooldown."""
    cooldown, now, said = Cooldown(SECONDS), 0.0, []
    for entity, rule, severity, later in alerts:
        now += later
        said.append(((entity, rule), severity, now, cooldown.lets_through(entity, rule, severity, now)))
    return said, cooldown


@given(st.lists(ALERT, max_size=60))
def test_a_rise_above_all_that_was_said_within_the_cooldown_is_let_through(alerts):
    said, _ = told(alerts)
    for number, (key, severity, now, passed) in enumerate(said):
        recent = [other for k, other, at, ok in said[:number] if k == key and ok and now - at < SECONDS]
        if all(SEVERITIES.index(severity) > SEVERITIES.index(other) for other in recent):
            assert passed


@given(st.lists(ALERT, max_size=60))
def test_in_a_cooldown_each_severity_is_told_once_and_is_cleared_once(alerts):
    said, _ = told(alerts)
    by_key = defaultdict(list)
    for key, severity, now, passed in said:
        if passed:
            by_key[key].append((now, severity))
    for passed in by_key.values():
        began = None
        for now, severity in passed:
            if began is None or now - began >= SECONDS:
                began, seen = now, Counter()
            seen[severity] += 1
            cleared = seen["cleared"]
            assert all(count == 1 for name, count in seen.items() if name != "cleared")
            assert cleared <= 1 + seen.total() - cleared


@given(st.lists(ALERT, max_size=60))
def test_what_is_held_back_is_counted(alerts):
    said, cooldown = told(alerts)
    held = Counter(key[1] for key, _, _, passed in said if not passed)
    assert cooldown.held_back == held


def test_in_a_storm_a_sink_gets_one_alert_an_entity():
    cooldown = Cooldown(SECONDS)
    passed = sum(cooldown.lets_through(f"c{number % 50}", "velocity", "major", number / 1_000) for number in range(50_000))
    assert passed == 50
    assert cooldown.held_back == {"velocity": 50_000 - 50}


def test_an_alarm_that_flaps_is_cleared_once_and_told_again_after_the_cooldown():
    cooldown = Cooldown(SECONDS)
    flapping = [("major", 0), ("cleared", 1), ("major", 2), ("cleared", 3), ("critical", 4), ("cleared", 5), ("major", 61)]
    assert [cooldown.lets_through("c", "r", severity, now) for severity, now in flapping] == [
        True,
        True,
        False,
        False,
        True,
        True,
        True,
    ]


def test_entities_whose_cooldown_is_over_are_forgotten():
    cooldown = Cooldown(SECONDS)
    for number in range(3 * SWEEP_INTERVAL):
        cooldown.lets_through(f"c{number}", "velocity", "major", float(number))
    assert len(cooldown._states) <= SWEEP_INTERVAL + SECONDS
