"""Adds the load test's options to locust's, and makes the plan from them."""

import argparse
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import typer

from common.command_options import duration
from common.errors import UserError
from loadtests.shapes import SHAPES

DESTINATIONS = ("kafka", "http", "null")
FIND_THE_LIMIT = "find-the-limit"
OBJECTIVES = Path(__file__).with_name("objectives.toml")


class OptionError(UserError):
    """The value of an option cannot be used; the message names the option."""


_defaults = {"vertical": "finance_fraud"}


def default_vertical(name: str) -> None:
    """Sets the vertical that a vertical's own locustfile loads when --vertical is not given."""
    _defaults["vertical"] = name


@dataclass(frozen=True)
class LoadPlan:
    """What is sent, how, and what is watched meanwhile. Rates in events per second.

    low_rate and rate: between which the shape moves. step_seconds: of the search for the limit, at each rate. per_user: rate of
    one locust user, who sends `batch` events at a time. first_day: of the simulation; None: the day after what the labels topic
    ends with. settle_seconds: how long alerts are waited for once the load is over. warm_up_seconds: from the start, left out of
    latencies. objectives: their file. data: the data folder of archive and detection. servers: of Kafka.
    """

    vertical: str
    via: str
    shape: str
    rate: float
    low_rate: float
    duration_seconds: float
    step_seconds: float
    per_user: float
    batch: int
    seed: int
    first_day: date | None
    warm_up_seconds: float
    settle_seconds: float
    watch: bool
    objectives: Path
    data: Path | None
    servers: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options to locust's parser, from its event `init_command_line_parser`."""
    # Without TLS both are for this machine alone; other machines are a decision, and an option. Any page in a browser of this
    # machine could start a load, if the web page had no login.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1", web_login=True)
    group = parser.add_argument_group("Load of a vertical")
    add = group.add_argument
    add("--vertical", default=_defaults["vertical"], help="whose events are sent, for instance finance_fraud")
    add("--via", choices=DESTINATIONS, default=DESTINATIONS[0],
        help="kafka; http: the gateway at --host; null: nowhere, the tool's own ceiling")  # fmt: skip
    add("--shape", choices=[*SHAPES, FIND_THE_LIMIT], default="constant", help="how the rate changes; see loadtests/README.md")
    add("--rate", type=float, default=500.0, help="events per second at the shape's highest")
    add("--low-rate", type=float, default=0.0, help="events per second at its lowest [default: a tenth of --rate]")
    add("--duration", default="60s", help=f"of the shape, for instance 90s or 5m; {FIND_THE_LIMIT} does not use it")
    add("--step", default="30s", help=f"of {FIND_THE_LIMIT}: how long each rate is held")
    add("--per-user", type=float, default=100.0, help="events per second of one locust user")
    add("--batch", type=int, default=1, help="events that a user sends at a time; over HTTP as NDJSON if more than 1")
    add("--seed", type=int, default=1, help="of the simulation; baselines fit only the world they were learnt from")
    add("--first-day", default="", help="first simulated day, YYYY-MM-DD [default: after what the labels topic ends with]")
    add("--warm-up", default="0s", help="from the start, not counted into the latency from event to alert")
    add("--settle", default="10s", help="how long alerts are waited for after the load")
    add("--no-watch", action="store_true", help="send only; look at no alerts, lag or tables")
    add("--objectives", default=str(OBJECTIVES), help="TOML file of what has to hold")
    add("--data", default="", help="data folder of archive and detection [default: hybrid-data, or HYBRID_DATA]")
    add("--bootstrap-servers", default="", help="Kafka [default: HYBRID_BOOTSTRAP_SERVERS, or the data folder's broker]")


def make_plan(options: Any) -> LoadPlan:
    """Makes the plan from locust's parsed options. Raises OptionError, which names the option."""
    if options.rate <= 0 or options.per_user <= 0 or options.low_rate < 0 or options.batch < 1:
        raise OptionError("give --rate and --per-user above 0, --low-rate not below 0, --batch 1 or more")
    return LoadPlan(
        vertical=options.vertical,
        via=options.via,
        shape=options.shape,
        rate=options.rate,
        low_rate=options.low_rate or options.rate / 10,
        duration_seconds=_parse_seconds("--duration", options.duration),
        step_seconds=_parse_seconds("--step", options.step),
        # Even at the lowest rate there is one user, who must not send more than that.
        per_user=min(options.per_user, options.low_rate or options.rate / 10),
        batch=options.batch,
        seed=options.seed,
        first_day=_parse_day(options.first_day),
        warm_up_seconds=_parse_seconds("--warm-up", options.warm_up),
        settle_seconds=_parse_seconds("--settle", options.settle),
        watch=not options.no_watch and options.via != "null",
        objectives=Path(options.objectives),
        data=Path(options.data) if options.data else None,
        servers=options.bootstrap_servers or None,
    )


def _parse_seconds(option: str, text: str) -> float:
    if text.strip("0") in ("", "s"):
        return 0.0
    try:
        return duration(text) or 0.0
    except typer.BadParameter as problem:
        raise OptionError(f"{option}: {problem.message}") from None


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise OptionError(f"--first-day: {text!r} is not a day: give YYYY-MM-DD") from None
