"""Computes the detector's precision and recall under load: labels against alerts, in plain Python and bounded memory.

The light form of `common.batch.evaluation`, with the same meaning: an alert is right when an event behind it is
labelled; a case is detected when an alert of a rule meant for its scenario names one of its events. Whichever comes first,
label or alert, waits for the other among the newest `capacity` of its kind. What no longer waits keeps its count.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

import orjson

from common.vertical import Scenario

CAPACITY = 200_000  # ids of each kind


class RecentEntries(OrderedDict):
    """A dictionary of the newest entries: when it is over its capacity the oldest is dropped."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def __setitem__(self, key: object, value: object) -> None:
        super().__setitem__(key, value)
        if len(self) > self.capacity:
            self.popitem(last=False)


class Scores:
    """Counts so far. cases and detected_cases: by scenario; alerts (each alert_id once) and right_alerts: by rule."""

    def __init__(self, scenarios: Iterable[Scenario], capacity: int = CAPACITY) -> None:
        self.expected_rules = {scenario.name: frozenset(scenario.rules) for scenario in scenarios}
        self.cases: Counter[str] = Counter()
        self.detected_cases: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.right_alerts: Counter[str] = Counter()
        self._case_by_event = RecentEntries(capacity)  # event id -> (scenario, case id)
        self._is_detected = RecentEntries(capacity)  # (scenario, case id) -> whether it is detected
        self._is_right = RecentEntries(capacity)  # alert id -> whether it is right
        self._unlabelled_events = RecentEntries(capacity)  # event id without a label so far -> {alert id: rule}

    @property
    def recall(self) -> float | None:
        return self.detected_cases.total() / self.cases.total() if self.cases else None

    @property
    def precision(self) -> float | None:
        return self.right_alerts.total() / self.alerts.total() if self.alerts else None

    def summary(self) -> str:
        cases = ", ".join(f"{name} {self.detected_cases[name]}/{count}" for name, count in sorted(self.cases.items()))
        alerts = f"{self.alerts.total():,}, of them {self.right_alerts.total():,} right"
        return f"{alerts}; detected cases: {cases or 'there were none'}"

    def add_label(self, event_id: str, scenario: str, case_id: str) -> None:
        """Take in one labelled event, as the labels topic has it; a case counts with its first.

        Raises TypeError, having counted nothing, for what is no text.
        """
        _check_texts(event_id, scenario, case_id)
        case = (scenario, case_id)
        if case not in self._is_detected:
            self._is_detected[case] = False
            self.cases[scenario] += 1
        self._case_by_event[event_id] = case
        for alert_id, rule in self._unlabelled_events.pop(event_id, {}).items():
            self._match(alert_id, rule, case)

    def add_alert(self, alert_id: str, rule: str, event: str) -> None:
        """Take in one alert or update of one; event: the id, or a JSON array of the ids, of the events behind it.

        Raises TypeError or ValueError, having counted nothing, for what is no text, or no such array.
        """
        _check_texts(alert_id, rule, event)
        event_ids = orjson.loads(event) if event.startswith("[") else [event]
        _check_texts(*event_ids)
        if alert_id not in self._is_right:
            self._is_right[alert_id] = False
            self.alerts[rule] += 1
        for event_id in event_ids:
            case = self._case_by_event.get(event_id)
            if case is not None:
                self._match(alert_id, rule, case)
            elif event_id in self._unlabelled_events:
                self._unlabelled_events[event_id][alert_id] = rule
            else:
                self._unlabelled_events[event_id] = {alert_id: rule}

    def _match(self, alert_id: str, rule: str, case: tuple[str, str]) -> None:
        if self._is_right.get(alert_id) is False:
            self._is_right[alert_id] = True
            self.right_alerts[rule] += 1
        if self._is_detected.get(case) is False and rule in self.expected_rules.get(case[0], ()):
            self._is_detected[case] = True
            self.detected_cases[case[0]] += 1


def _check_texts(*values: object) -> None:
    """Raises TypeError unless all are texts."""
    if not all(isinstance(value, str) for value in values):
        raise TypeError("an id, a rule or a scenario is no text")
