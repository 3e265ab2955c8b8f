"""Reads the objectives of a load test by vertical from a TOML file, and compares them with what was measured."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.errors import UserError
from loadtests.query_lag import AtMost

DEFAULT = "default"


class ObjectivesError(UserError):
    """The file of objectives cannot be used; the message says where."""


@dataclass(frozen=True)
class LoadFigures:
    """Objectives, or what was measured of them; None: no objective, or not measured.

    alert_p99_ms: from an event's Kafka timestamp to its alert at a subscriber. lag_records: of the query that is furthest
    behind, when the load ends; AtMost where only an upper bound is known. error_share: of requests. pace: share of the planned
    events that were sent. recall: share of the labelled cases that the rules meant for them detected; precision: of alerts that
    name a labelled event.
    """

    alert_p99_ms: float | None = None
    lag_records: float | None = None
    error_share: float | None = None
    pace: float | None = None
    recall: float | None = None
    precision: float | None = None


LOWER_BOUNDS = ("pace", "recall", "precision")  # objectives that give a least value; the others give a greatest
LOAD_ONLY = ("error_share", "pace")  # what is measured even if nobody watches alerts, lag and labels


def read_objectives(path: Path, vertical: str) -> LoadFigures:
    """The objectives of `vertical`: its own table over that of [default]. Raises ObjectivesError."""
    try:
        sections = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise ObjectivesError(f"objectives {path}: {problem}") from None
    objectives = {**sections.get(DEFAULT, {}), **sections.get(vertical, {})}
    names = [field.name for field in fields(LoadFigures)]
    for name, value in objectives.items():
        if name not in names:
            raise ObjectivesError(f"objectives {path}: unknown objective {name!r}; there are {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ObjectivesError(f"objectives {path}: {name} = {value!r} is not a number")
    return LoadFigures(**objectives)


@dataclass(frozen=True)
class ObjectiveResult:
    """Whether one objective was met; text: the figure beside the objective, beginning with its name."""

    name: str
    is_met: bool
    text: str


def check_objectives(
    objectives: LoadFigures, figures: LoadFigures, names: tuple[str, ...] | None = None
) -> list[ObjectiveResult]:
    """A result for each objective in the file, or for `names` only. What was not measured is not met."""
    values = asdict(figures)
    return [
        _check_objective(name, objective, values[name])
        for name, objective in asdict(objectives).items()
        if objective is not None and (names is None or name in names)
    ]


def _check_objective(name: str, objective: float, value: float | None) -> ObjectiveResult:
    is_lower_bound = name in LOWER_BOUNDS
    requirement = f"{'at least' if is_lower_bound else 'at most'} {objective:,} asked"
    if value is None:
        return ObjectiveResult(name, False, f"{name}: not measured, {requirement}")
    is_met = value >= objective if is_lower_bound else value <= objective
    if isinstance(value, AtMost):
        # An upper bound that is below the objective meets it, however small the value itself is.
        bound = f"at most {_format_figure(value)}" if is_met else f"unknown, somewhere up to {_format_figure(value)}"
        return ObjectiveResult(name, is_met, f"{name}: {bound}, {requirement}")
    return ObjectiveResult(name, is_met, f"{name}: {_format_figure(value)}, {requirement}")


def missed_objectives(objectives: LoadFigures, figures: LoadFigures, names: tuple[str, ...] | None = None) -> list[str]:
    """A line for each objective that was not met, or not measured, beginning with its name; of `names` only if given."""
    return [result.text for result in check_objectives(objectives, figures, names) if not result.is_met]


def verdict_line(results: list[ObjectiveResult]) -> str:
    """One line: PASS, or FAIL and what was missed, with each objective."""
    misses = "; ".join(result.text for result in results if not result.is_met)
    hits = "; ".join(result.text for result in results if result.is_met)
    if not misses:
        return f"PASS: all objectives held: {hits or 'none was asked for'}"
    return f"FAIL: {misses}" + (f". Held: {hits}" if hits else "")


def _format_figure(value: float) -> str:
    """From 1,000 on whole numbers, below that four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
