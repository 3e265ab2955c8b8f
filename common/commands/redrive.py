"""Runs `hybrid redrive`, which repairs quarantined events and sends them to the events topic again."""

from typing import Annotated

import typer
from rich.table import Table

from common.archive.redrive import Redrive
from common.archive.redrive import redrive as send_again
from common.archive.repairs import parse_fixes
from common.command_options import Data, Servers, VerticalName
from common.installed import find_vertical
from common.kafka.topics import topic_names
from common.monitoring.plain_table import plain_table
from common.runtime import deployment_of, existing_broker, read_settings, session_of
from common.terminal import console


def add_to(app: typer.Typer) -> None:
    app.command()(redrive)


def redrive(
    vertical: VerticalName,
    reason: Annotated[
        list[str] | None, typer.Option(help="only what was quarantined for it; may be repeated [default: all but duplicates]")
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            help="field=SQL, once per field: the field's new value by an expression of Spark over the fields as they were "
            "written, all as text; NULL leaves the field out. For instance amount=abs(try_cast(amount AS double))"
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count; nothing is sent or written down")] = False,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Send quarantined events that meet the contract now, or with fixes do, to the events topic again, each once.

    What still does not meet it stays in quarantine. Table `redriven` keeps what was tried, when and with which fixes.
    """
    declared_vertical, settings = find_vertical(vertical), read_settings(data, servers)
    fixes = parse_fixes(fix or [], declared_vertical)
    deployment = deployment_of(declared_vertical, settings, None if dry_run else existing_broker(settings))
    with (
        deployment.workspace.lock("redrive"),
        session_of(deployment, encrypts=True) as spark,
        console.status("redriving"),
    ):
        result = send_again(spark, deployment, reason or [], fixes, dry_run=dry_run)
    console.print(table_of(result, "would be sent" if dry_run else "sent"))
    if result.sent and not dry_run:
        console.print(
            f"sent to {topic_names(declared_vertical).events}; the archive puts each into `events` or into `quarantine` again"
        )


def table_of(result: Redrive, sent_heading: str) -> Table:
    """The counts of a redrive, a row for each reason."""
    table = plain_table("Quarantined events", "reason", sent_heading, "redriven before", "still invalid", "because of")
    for reason in sorted(result.sent | result.earlier | {reason: 0 for reason, _ in result.still_invalid}):
        new_reasons = {new_reason: count for (old, new_reason), count in result.still_invalid.items() if old == reason}
        causes = ", ".join(f"{new_reason} {count:,}" for new_reason, count in sorted(new_reasons.items())) or "-"
        counts = (f"{result.sent[reason]:,}", f"{result.earlier[reason]:,}", f"{sum(new_reasons.values()):,}")
        table.add_row(reason, *counts, causes)
    return table
