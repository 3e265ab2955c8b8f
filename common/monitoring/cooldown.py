"""Holds back repeated alerts of an entity and rule from people: in a storm they see each once, not ten thousand times.

The alerts topic and table stay complete; only sinks such as the screen ask here what to leave out.
"""

from collections import Counter
from dataclasses import dataclass, field

from common.alerts import SEVERITIES

CLEARED = SEVERITIES[0]
SWEEP_INTERVAL = 10_000  # alerts after which the entities whose cooldown is over are forgotten


@dataclass
class CooldownState:
    """What one cooldown has let through: since when, the rank of the highest severity, and the last severity."""

    since: float
    highest_rank: int
    last_severity: str


@dataclass
class Cooldown:
    """Lets through the first alert of an entity and rule; for `seconds` after it only rises in severity, each with its all-clear.

    So each severity gets through once in a cooldown at most, and a rise is never held back. held_back: alerts by rule.
    """

    seconds: float
    held_back: Counter[str] = field(default_factory=Counter)
    _states: dict[tuple[str, str], CooldownState] = field(default_factory=dict)
    _alert_count: int = 0

    def lets_through(self, entity: str, rule: str, severity: str, now: float) -> bool:
        """Whether people are to see this alert. now: seconds of a clock that is never set back."""
        self._sweep(now)
        # A severity that we do not know counts as higher than all others.
        rank = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
        state = self._states.get((entity, rule))
        if state is None or now - state.since >= self.seconds:
            self._states[entity, rule] = CooldownState(now, rank, severity)
            return True
        if rank > state.highest_rank or (severity == CLEARED and state.highest_rank and state.last_severity != CLEARED):
            state.highest_rank, state.last_severity = max(rank, state.highest_rank), severity
            return True
        self.held_back[rule] += 1
        return False

    def _sweep(self, now: float) -> None:
        """Forgets the states whose cooldown is over, now and then."""
        self._alert_count += 1
        if self._alert_count % SWEEP_INTERVAL == 0:
            self._states = {key: state for key, state in self._states.items() if now - state.since < self.seconds}
