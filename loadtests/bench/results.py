"""What a benchmark found, and on which machine: medians, ratios, and the same as JSON, Markdown and bars."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import psutil

from common.monitoring.plots import Bars, draw

Figures = dict[str, float | None]
"""A figure for each engine; None where it was not measured."""


def middle(rounds: Sequence[float | None]) -> float | None:
    """The median of the rounds that gave a figure."""
    measured = [value for value in rounds if value is not None and not math.isnan(value)]
    return median(measured) if measured else None


def ratios(figures: Mapping[str, float | None], base: str) -> Figures:
    """Each engine's figure in multiples of that of `base`."""
    own = figures.get(base)
    return {name: round(value / own, 3) if value is not None and own else None for name, value in figures.items()}


def medians(rounds: Mapping[str, Sequence[Mapping[str, Any]]], field: str) -> Figures:
    """The median of `field` over every engine's rounds."""
    return {name: middle([each.get(field) for each in found]) for name, found in rounds.items()}


def compared(rounds: Mapping[str, Sequence[Mapping[str, Any]]], fields: Sequence[str], base: str) -> dict[str, Any]:
    """For each of `fields`: medians, and their ratios to those of `base`."""
    found = {field: medians(rounds, field) for field in fields}
    return {field: {"median": figures, "ratio": ratios(figures, base)} for field, figures in found.items()}


def others(figures: Mapping[str, Figures], base: str) -> list[tuple[str, float]]:
    """Of what `compared` found for a field, the other engines' figures in multiples of `base`'s, where they were measured."""
    return [(name, of) for name, of in figures["ratio"].items() if of and name != base]


def steady_rate(events: int, arrivals: Sequence[float]) -> float | None:
    """Events per second between a fifth and all of the alerts, by the seconds at which these came; None for a few alerts."""
    if len(arrivals) <= 10 or arrivals[-1] == (fifth := arrivals[len(arrivals) // 5]):
        return None
    return events * 0.8 / (arrivals[-1] - fifth)


def hardware() -> dict[str, Any]:
    """Cores, the processor's clock where the system knows it, memory, system, and the load average that others put on it."""
    clock = psutil.cpu_freq()
    return {
        "cores": os.cpu_count(),
        "mhz": round(clock.max or clock.current) if clock else None,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": load_average(),
    }


def load_average() -> list[float]:
    return [round(load, 2) for load in os.getloadavg()]


def commit() -> str | None:
    """Of the checkout that this code is in, with a + where files differ from it; None outside of one."""
    here = Path(__file__).parent
    try:
        asked = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, cwd=here, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def measured_on(versions: Mapping[str, str]) -> dict[str, Any]:
    """What every benchmark's results begin with: the machine as it is before, the commit, and versions by package."""
    return {"machine": hardware(), "commit": commit(), "versions": dict(versions)}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    return {name: version(name) for name in packages}


def text(value: float | None, digits: int = 0) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def cells(figures: Mapping[str, Figures], name: str, digits: int) -> list[str]:
    """Of what `compared` found for a field, an engine's median and its ratio to ours, as text."""
    return [text(figures["median"].get(name), digits), text(figures["ratio"].get(name), 2)]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine_line(results: Mapping[str, Any]) -> str:
    """Hardware, versions, commit and load, in a sentence."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}; {versions}; "
        f"commit {results['commit'] or 'unknown'}; load average {machine['load_average']} before, {results['load_after']} after."
    )


def write(results: Mapping[str, Any], markdown: str, json_path: Path) -> Path:
    """JSON at `json_path` and Markdown beside it; returns the Markdown's path."""
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(results, indent=2) + "\n")
    beside = json_path.with_suffix(".md")
    beside.write_text(markdown)
    return beside


def bars(title: str, unit: str, titles: Mapping[str, str], figures: Figures, folder: Path) -> Path | None:
    """A bar for each engine that has a figure."""
    rows = pd.DataFrame(
        [(titles[name], value) for name, value in figures.items() if value is not None], columns=["engine", unit]
    )
    return draw(rows, Bars(title, "engine", unit, unit), folder)
