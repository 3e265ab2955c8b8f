"""A cooldown per entity and rule, for what shows alerts to people: in a storm they see each thing once, not ten thousand times.

The alerts topic and table stay complete; only sinks such as the screen ask here what to leave out.
"""

from collections import Counter
from dataclasses import dataclass, field

from common.alerts import SEVERITIES

CLEARED = SEVERITIES[0]
SWEEP_EVERY = 10_000  # alerts between two looks for entities whose cooldown is over


@dataclass
class Said:
    """What was let through in a cooldown: since when, the highest severity, and the last one."""

    since: float
    highest: int
    last: str


@dataclass
class Cooldown:
    """Lets through the first alert of an entity and rule; for `seconds` after it only rises in severity, each with its all-clear.

    So each severity gets through once in a cooldown at most, and what rises is never held back. held_back: alerts by rule.
    """

    seconds: float
    held_back: Counter[str] = field(default_factory=Counter)
    _said: dict[tuple[str, str], Said] = field(default_factory=dict)
    _seen: int = 0

    def lets_through(self, entity: str, rule: str, severity: str, now: float) -> bool:
        """now: seconds of a clock that does not go back."""
        self._sweep(now)
        # What nobody knows is told as the highest.
        rank = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
        said = self._said.get((entity, rule))
        if said is None or now - said.since >= self.seconds:
            self._said[entity, rule] = Said(now, rank, severity)
            return True
        if rank > said.highest or (severity == CLEARED and said.highest and said.last != CLEARED):
            said.highest, said.last = max(rank, said.highest), severity
            return True
        self.held_back[rule] += 1
        return False

    def _sweep(self, now: float) -> None:
        self._seen += 1
        if self._seen % SWEEP_EVERY == 0:
            self._said = {key: said for key, said in self._said.items() if now - said.since < self.seconds}
