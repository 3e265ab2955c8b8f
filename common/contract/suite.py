"""The contract as a great-expectations suite over a table, with Data Docs for people."""

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame

from common.vertical import Vertical


@dataclass(frozen=True)
class Outcome:
    """One expectation over the whole table."""

    expectation: str
    success: bool
    unexpected: int


@dataclass(frozen=True)
class SuiteResult:
    """What a suite found: `rows` looked at, an outcome per expectation, and where Data Docs begin."""

    success: bool
    rows: int
    outcomes: tuple[Outcome, ...]
    docs: Path


def run_suite(events: DataFrame, vertical: Vertical, docs: Path) -> SuiteResult:
    """Run the contract over a table; writes Data Docs under `docs`."""
    raise NotImplementedError
