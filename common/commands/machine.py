"""Defines the commands about this machine: doctor, setup, broker, topics, verticals."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from common.command_options import Data, Servers, VerticalName
from common.doctor import diagnose
from common.embedded.class_data import Use, has_class_data, make_class_data
from common.embedded.jars import SETUP_KINDS, ensure_jars
from common.embedded.java import find_java
from common.embedded.kafka import EmbeddedKafkaError, broker_class_path
from common.installed import find_vertical, vertical_names
from common.kafka.acls import ROLES, grant_role
from common.kafka.connection import Connection
from common.kafka.topics import ensure_topics
from common.runtime import existing_broker, own_broker, read_settings
from common.settings import SettingsError
from common.spark.class_training import train_broker, train_spark
from common.spark.session import spark_class_path
from common.terminal import console
from common.waiting import until_stopped


def add_to(app: typer.Typer) -> None:
    for command in (doctor, setup, broker, topics, verticals):
        app.command()(command)


def doctor(data: Data = None, servers: Servers = None) -> None:
    """Say what this machine has, what it lacks, and what to do. Exits with 1 when something is missing."""
    settings = read_settings(data, servers)
    client = Connection.from_settings(settings).client_options() if settings.bootstrap_servers else None
    findings = diagnose(settings, client)
    table = Table("", "", "found", "what to do", box=None, pad_edge=False)
    for finding in findings:
        table.add_row("[green]ok[/]" if finding.ok else "[red]no[/]", finding.name, finding.state, finding.remedy)
    console.print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def setup(
    classes: Annotated[bool, typer.Option("--classes", help="also keep Java's classes: later starts take half as long")] = False,
) -> None:
    """Fetch what no Python package brings (jars, with checksums) into the cache; quick when all is there."""
    os.umask(0o022)  # unlike data, what is fetched is nobody's secret: one user of an image or a machine may do it for others
    with Progress(console=console, transient=True) as progress:
        for kind in SETUP_KINDS:
            task = progress.add_task(f"jars: {kind}", total=None)
            ensure_jars(kind, progress=partial(_show, progress, task))
    if classes:
        keep_classes()
    console.print("everything is there")


def keep_classes() -> None:
    """Makes the files from which Java has its classes at once, unless they are there: half a minute, and 250 MB in the cache."""
    java = find_java()
    uses: dict[Use, tuple[str, Callable[[Sequence[str]], None]]] = {
        "broker": (broker_class_path(ensure_jars("broker")), train_broker),
        "spark": (spark_class_path(), train_spark),
    }
    for use, (class_path, train) in uses.items():
        if has_class_data(use, java, class_path):
            continue
        with console.status(f"keeping Java's classes for quicker starts, once: {use}"), suppress(OSError, EmbeddedKafkaError):
            if make_class_data(use, java, class_path, train):
                continue
        console.print(f"Java's classes for {use} could not be kept: it starts some seconds later")


def _show(progress: Progress, task: TaskID, name: str, fetched: int, total: int) -> None:
    progress.update(task, completed=fetched, total=total)


def broker(data: Data = None) -> None:
    """Run an embedded Kafka broker in the data folder until stopped, for the other commands to use."""
    settings = read_settings(data)
    with own_broker(settings) as connection:
        console.print(f"Kafka at {connection.bootstrap_servers}; its data lies in {settings.data / 'kafka'}. Ctrl-C ends it.")
        for _ in until_stopped(None):
            pass


def topics(
    vertical: VerticalName,
    allow_: Annotated[
        list[str] | None,
        typer.Option("--allow", help=f"role=user, where the cluster controls access; roles: {', '.join(ROLES)}"),
    ] = None,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Create the topics that a vertical needs, and grant logins what their commands need of them."""
    subject, settings = find_vertical(vertical), read_settings(data, servers)
    grants = [_parse_grant(text) for text in allow_ or []]
    connection = existing_broker(settings)
    for name, partitions in ensure_topics(connection, subject, settings.partitions, settings.replication).items():
        console.print(f"{name}: {partitions} partitions")
    for role, user in grants:
        for line in grant_role(connection, subject, role, user):
            console.print(line)


def _parse_grant(text: str) -> tuple[str, str]:
    """Role and user of a text such as detector=alice. Raises SettingsError."""
    role, _, user = text.partition("=")
    if role not in ROLES or not user:
        raise SettingsError(f"--allow {text}: give role=user, the role one of {', '.join(ROLES)}")
    return role, user


def verticals() -> None:
    """List the installed verticals."""
    for name in vertical_names():
        console.print(f"{name}: {find_vertical(name).title}")
