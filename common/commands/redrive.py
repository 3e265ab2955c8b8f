"""`hybrid redrive`: quarantined events, repaired, through the front door again."""

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
    declared, settings = find_vertical(vertical), read_settings(data, servers)
    fixes = parse_fixes(fix or [], declared)
    deployment = deployment_of(declared, settings, None if dry_run else existing_broker(settings))
    with (
        deployment.workspace.lock("redrive"),
        session_of(deployment, encrypts=True) as spark,
        console.status("redriving"),
    ):
        result = send_again(spark, deployment, reason or [], fixes, dry_run=dry_run)
    console.print(table_of(result, "would be sent" if dry_run else "sent"))
    if result.sent and not dry_run:
        console.print(f"sent to {topic_names(declared).events}; the archive puts each into `events` or into `quarantine` again")


def table_of(result: Redrive, sent: str) -> Table:
    table = plain_table("Quarantined events", "reason", sent, "redriven before", "still invalid", "because of")
    for reason in sorted(result.sent | result.earlier | {refused: 0 for refused, _ in result.still_invalid}):
        refusals = {new: count for (old, new), count in result.still_invalid.items() if old == reason}
        because = ", ".join(f"{new} {count:,}" for new, count in sorted(refusals.items())) or "-"
        table.add_row(reason, f"{result.sent[reason]:,}", f"{result.earlier[reason]:,}", f"{sum(refusals.values()):,}", because)
    return table
