"""What has to hold under load, by vertical, from one TOML file."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

DEFAULT = "default"


class ObjectivesError(Exception):
    """The file of objectives cannot be used; the message says where."""


@dataclass(frozen=True)
class Figures:
    """Objectives, or what was measured of them; None: not asked for, or not measured.

    alert_p99_ms: from an event's Kafka timestamp to its alert at a subscriber. lag_records: of the query that is furthest
    behind, when the load ends. error_share: of requests. pace: share of the planned events that were sent.
    recall: share of the labelled cases that the rules meant for them found; precision: of alerts that name a labelled event.
    """

    alert_p99_ms: float | None = None
    lag_records: float | None = None
    error_share: float | None = None
    pace: float | None = None
    recall: float | None = None
    precision: float | None = None


AT_LEAST = ("pace", "recall", "precision")
# Without a watch on alerts, lag and labels these alone are known.
OF_THE_LOAD = ("error_share", "pace")


def read_objectives(path: Path, vertical: str) -> Figures:
    """The objectives of `vertical`: its own table over that of [default]. Raises ObjectivesError."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise ObjectivesError(f"objectives {path}: {problem}") from None
    merged = {**found.get(DEFAULT, {}), **found.get(vertical, {})}
    known = [field.name for field in fields(Figures)]
    for name, value in merged.items():
        if name not in known:
            raise ObjectivesError(f"objectives {path}: unknown objective {name!r}; known: {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ObjectivesError(f"objectives {path}: {name} = {value!r} is not a number")
    return Figures(**merged)


def missed(objectives: Figures, measured: Figures, only: tuple[str, ...] | None = None) -> list[str]:
    """A line for each objective that was not met, or not measured, beginning with its name; `only`: look at these."""
    lines = []
    seen = asdict(measured)
    for name, asked in asdict(objectives).items():
        if asked is None or (only is not None and name not in only):
            continue
        value, least = seen[name], name in AT_LEAST
        wanted = f"{'at least' if least else 'at most'} {asked:,} asked"
        if value is None:
            lines.append(f"{name}: not measured, {wanted}")
        elif (value < asked) if least else (value > asked):
            lines.append(f"{name}: {_text(value)}, {wanted}")
    return lines


def _text(value: float) -> str:
    """Thousands in full, four digits of what is smaller."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
