"""What has to hold under load, by vertical, from one TOML file."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.errors import UserError
from loadtests.query_lag import AtMost

DEFAULT = "default"


class ObjectivesError(UserError):
    """The file of objectives cannot be used; the message says where."""


@dataclass(frozen=True)
class Figures:
    """Objectives, or what was measured of them; None: not asked for, or not measured.

    alert_p99_ms: from an event's Kafka timestamp to its alert at a subscriber. lag_records: of the query that is furthest
    behind, when the load ends; AtMost where no more is known. error_share: of requests. pace: share of the planned events that
    were sent. recall: share of the labelled cases that the rules meant for them found; precision: of alerts that name a
    labelled event.
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


@dataclass(frozen=True)
class Judged:
    """One objective and what became of it; told: in words, beginning with its name."""

    name: str
    held: bool
    told: str


def judge(objectives: Figures, measured: Figures, only: tuple[str, ...] | None = None) -> list[Judged]:
    """What became of each objective that is asked for; `only`: of these. What is not known has not held."""
    seen = asdict(measured)
    return [
        _judge(name, asked, seen[name])
        for name, asked in asdict(objectives).items()
        if asked is not None and (only is None or name in only)
    ]


def _judge(name: str, asked: float, value: float | None) -> Judged:
    least = name in AT_LEAST
    wanted = f"{'at least' if least else 'at most'} {asked:,} asked"
    if value is None:
        return Judged(name, False, f"{name}: not measured, {wanted}")
    held = value >= asked if least else value <= asked
    if isinstance(value, AtMost):
        # Below what is asked it has held, however far below it was.
        value_told = f"at most {_text(value)}" if held else f"unknown, somewhere up to {_text(value)}"
        return Judged(name, held, f"{name}: {value_told}, {wanted}")
    return Judged(name, held, f"{name}: {_text(value)}, {wanted}")


def missed(objectives: Figures, measured: Figures, only: tuple[str, ...] | None = None) -> list[str]:
    """A line for each objective that was not met, or is not known to be, beginning with its name; `only`: look at these."""
    return [each.told for each in judge(objectives, measured, only) if not each.held]


def verdict(judged: list[Judged]) -> str:
    """One line: PASS, or FAIL and what failed, with each objective."""
    failed, held = ("; ".join(each.told for each in judged if each.held is wanted) for wanted in (False, True))
    if not failed:
        return f"PASS: all objectives held: {held or 'none was asked for'}"
    return f"FAIL: {failed}" + (f". Held: {held}" if held else "")


def _text(value: float) -> str:
    """Thousands in full, four digits of what is smaller."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
