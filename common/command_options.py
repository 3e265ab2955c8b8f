"""Defines the options that commands share, and reads their texts."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from common.installed import ALL
from common.settings import SettingsError, parse_span

FIRST_DAY = date(2020, 1, 1)  # of every simulated world

VerticalName = Annotated[str, typer.Argument(metavar="VERTICAL", help="for instance finance_fraud")]
VerticalOrAll = Annotated[str, typer.Argument(metavar="VERTICAL", help=f"for instance finance_fraud; {ALL}: every installed one")]
Data = Annotated[Path | None, typer.Option(help="data folder [default: hybrid-data, or HYBRID_DATA]", show_default=False)]
Servers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        help="an existing Kafka, host:port[,host:port]; "
        "login and TLS by HYBRID_KAFKA_* [default: the data folder's embedded broker]",
        show_default=False,
    ),
]
Start = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help=f"first simulated day [default: {FIRST_DAY}]", show_default=False)
]
Seed = Annotated[int, typer.Option(help="of the simulation: the same seed gives the same bytes")]


def first_day(start: datetime | None) -> date:
    """The day that `--start` names, or FIRST_DAY."""
    return start.date() if start else FIRST_DAY


def named_values(option: str, words: list[str], form: str) -> dict[str, str]:
    """Names and values from words such as `name=value`; raises SettingsError, which says the `form` to give."""
    pairs = [word.partition("=") for word in words]
    invalid = [word for word, (name, equals, value) in zip(words, pairs, strict=True) if not (name and equals and value)]
    if invalid:
        raise SettingsError(f"{option} {invalid[0]}: give {form}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def duration(text: str | None) -> float | None:
    """Seconds of a span of time as settings have it (`parse_span`); None stays None. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        return parse_span(text).total_seconds()
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
