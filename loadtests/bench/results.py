"""Computes a benchmark's medians and ratios, describes the machine, and writes both as JSON, Markdown and bars."""

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

from common.charts import Bars, draw_chart

EngineFigures = dict[str, float | None]
"""A figure for each engine; None where it was not measured."""


def median_of(rounds: Sequence[float | None]) -> float | None:
    """The median of the rounds that gave a figure."""
    figures = [value for value in rounds if value is not None and not math.isnan(value)]
    return median(figures) if figures else None


def ratios_to_base(figures: Mapping[str, float | None], base: str) -> EngineFigures:
    """Each engine's figure in multiples of that of `base`."""
    base_figure = figures.get(base)
    return {name: round(value / base_figure, 3) if value is not None and base_figure else None for name, value in figures.items()}


def medians(rounds: Mapping[str, Sequence[Mapping[str, Any]]], field: str) -> EngineFigures:
    """The median of `field` over every engine's rounds."""
    return {name: median_of([figures.get(field) for figures in engine_rounds]) for name, engine_rounds in rounds.items()}


def compare_engines(rounds: Mapping[str, Sequence[Mapping[str, Any]]], fields: Sequence[str], base: str) -> dict[str, Any]:
    """For each of `fields`: medians, and their ratios to those of `base`."""
    medians_by_field = {field: medians(rounds, field) for field in fields}
    return {field: {"median": figures, "ratio": ratios_to_base(figures, base)} for field, figures in medians_by_field.items()}


def ratios_of_others(comparison: Mapping[str, EngineFigures], base: str) -> list[tuple[str, float]]:
    """Of a field's comparison by `compare_engines`, the other engines' ratios to `base`, where they were measured."""
    return [(name, ratio) for name, ratio in comparison["ratio"].items() if ratio and name != base]


def steady_rate(events: int, arrivals: Sequence[float]) -> float | None:
    """Events per second between a fifth and all of the alerts, by the seconds at which these came; None for a few alerts."""
    if len(arrivals) <= 10 or arrivals[-1] == (fifth := arrivals[len(arrivals) // 5]):
        return None
    return events * 0.8 / (arrivals[-1] - fifth)


def hardware() -> dict[str, Any]:
    """Cores, the processor's clock where the system knows it, memory, system, and the load average that other work causes."""
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


def git_revision() -> str | None:
    """The checkout's revision (`git describe`), with + if files differ; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def measurement_context(versions: Mapping[str, str]) -> dict[str, Any]:
    """What a benchmark's results begin with: the machine (its load before the run included), revision, versions by package."""
    return {"machine": hardware(), "commit": git_revision(), "versions": dict(versions)}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    return {name: version(name) for name in packages}


def format_figure(value: float | None, digits: int = 0) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def comparison_cells(comparison: Mapping[str, EngineFigures], name: str, digits: int) -> list[str]:
    """Of a field's comparison by `compare_engines`, an engine's median and its ratio to ours, as text."""
    return [format_figure(comparison["median"].get(name), digits), format_figure(comparison["ratio"].get(name), 2)]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hardware_line(results: Mapping[str, Any]) -> str:
    """The hardware, versions, revision and load of a benchmark, in a sentence."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}; {versions}; "
        f"commit {results['commit'] or 'unknown'}; load average {machine['load_average']} before, {results['load_after']} after."
    )


def write_json_and_markdown(results: Mapping[str, Any], markdown: str, json_path: Path) -> Path:
    """JSON at `json_path` and Markdown beside it; returns the Markdown's path."""
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(results, indent=2) + "\n")
    markdown_path = json_path.with_suffix(".md")
    markdown_path.write_text(markdown)
    return markdown_path


def draw_bars(title: str, unit: str, titles: Mapping[str, str], figures: EngineFigures, folder: Path) -> Path | None:
    """A bar for each engine that has a figure."""
    rows = pd.DataFrame([(titles[name], value) for name, value in figures.items() if value is not None], columns=["engine", unit])
    return draw_chart(rows, Bars(title, "engine", unit, unit), folder)
