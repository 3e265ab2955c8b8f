"""The detector's precision and recall while it is under load: labels against alerts, in plain Python and bounded memory.

The light form of `common.batch.evaluation`, with the same meaning: an alert is right when an event behind it is
labelled; a case is found when an alert of a rule meant for its scenario names one of its events. Whichever comes first,
label or alert, waits for the other among the newest `remembered` of its kind. What left off waiting keeps its count.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

import orjson

from common.vertical import Scenario

REMEMBERED = 200_000


class Recent(OrderedDict):
    """A dictionary of the newest entries: past its size the oldest goes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.forgotten = size, 0

    def __setitem__(self, key: object, value: object) -> None:
        super().__setitem__(key, value)
        if len(self) > self.size:
            self.popitem(last=False)
            self.forgotten += 1


class Scores:
    """Counts so far: cases and found by scenario, alerts (each alert_id once) and right by rule."""

    def __init__(self, scenarios: Iterable[Scenario], remembered: int = REMEMBERED) -> None:
        self.meant = {scenario.name: frozenset(scenario.rules) for scenario in scenarios}
        self.cases: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self._labelled = Recent(remembered)  # event id -> (scenario, case id)
        self._cases = Recent(remembered)     # case id -> whether it is found
        self._alerts = Recent(remembered)    # alert id -> whether it is right
        self._named = Recent(remembered)     # event id without a label so far -> {alert id: rule}

    @property
    def recall(self) -> float | None:
        return self.found.total() / self.cases.total() if self.cases else None

    @property
    def precision(self) -> float | None:
        return self.right.total() / self.alerts.total() if self.alerts else None

    def told(self) -> str:
        found = ", ".join(f"{name} {self.found[name]}/{cases}" for name, cases in sorted(self.cases.items()))
        return f"{self.alerts.total():,}, of them {self.right.total():,} right; cases found: {found or 'none was there'}"

    def label(self, event_id: str, scenario: str, case_id: str) -> None:
        """One labelled event, as the labels topic has it; a case counts with its first."""
        case = (scenario, case_id)
        if case not in self._cases:
            self._cases[case] = False
            self.cases[scenario] += 1
        self._labelled[event_id] = case
        for alert_id, rule in self._named.pop(event_id, {}).items():
            self._match(alert_id, rule, case)

    def alert(self, alert_id: str, rule: str, event: str) -> None:
        """One alert or update of one; event: the id, or a JSON array of the ids, of the events behind it."""
        if alert_id not in self._alerts:
            self._alerts[alert_id] = False
            self.alerts[rule] += 1
        for event_id in orjson.loads(event) if event.startswith("[") else [event]:
            case = self._labelled.get(event_id)
            if case is not None:
                self._match(alert_id, rule, case)
            elif event_id in self._named:
                self._named[event_id][alert_id] = rule
            else:
                self._named[event_id] = {alert_id: rule}

    def _match(self, alert_id: str, rule: str, case: tuple[str, str]) -> None:
        if self._alerts.get(alert_id) is False:
            self._alerts[alert_id] = True
            self.right[rule] += 1
        if self._cases.get(case) is False and rule in self.meant.get(case[0], ()):
            self._cases[case] = True
            self.found[case[0]] += 1
