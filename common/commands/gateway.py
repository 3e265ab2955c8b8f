"""`hybrid gateway`: events in and alerts out over HTTP; `hybrid token`: who may."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from common.commands.context import (
    Data,
    Servers,
    VerticalOrAll,
    console,
    existing_broker,
    read_settings,
    subjects_of,
)
from common.embedded.supervise import Supervised, supervised
from common.gateway.address import Address
from common.gateway.tokens import TokenFile, Tokens
from common.ingestion.connection import Connection
from common.ingestion.topics import ensure_topics
from common.settings import Settings
from common.vertical import verticals

DEFAULT = "127.0.0.1:8080"

Certificate = Annotated[Path | None, typer.Option(help="TLS: the certificate, PEM", show_default=False)]
Key = Annotated[Path | None, typer.Option(help="TLS: its private key, PEM", show_default=False)]

token = typer.Typer(no_args_is_help=True, help="Make, list and revoke the gateway's tokens.")


def add_to(app: typer.Typer) -> None:
    app.command()(gateway)
    app.add_typer(token, name="token")


def gateway(
    vertical: VerticalOrAll,
    http: Annotated[str, typer.Option(help="where to listen, HOST:PORT")] = DEFAULT,
    certificate: Certificate = None,
    key: Key = None,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Take events and give alerts over HTTP, until stopped; Kafka must be there, detection may run elsewhere.

    Without any token (hybrid token add) only this machine is served. Beyond it, a token and TLS are needed.
    """
    # The server's libraries take a second to import, which no other command has to wait for.
    from common.gateway.serving import run_gateway

    address, settings, subjects = Address.read(http, certificate, key), read_settings(data, servers), subjects_of(vertical)
    tokens = Tokens(TokenFile(settings.data))
    address.check(tokens)
    connection = existing_broker(settings)
    for each in subjects:
        ensure_topics(connection, each, settings.partitions, settings.replication)
    who = "whoever has a token" if tokens else "this machine only, without a token: there is none (hybrid token add)"
    console.print(f"gateway at {address.url}, for {who}; Ctrl-C ends it", soft_wrap=True)
    run_gateway(subjects, settings, connection, address)


def gateway_beside(vertical: str, address: Address, connection: Connection, settings: Settings) -> Supervised:
    """A gateway in a process of its own, so that no request waits for Spark's Python; it ends with us."""
    command = [sys.executable, "-m", "common.cli", "gateway", vertical, "--http", f"{address.host}:{address.port}"]
    command += ["--bootstrap-servers", connection.bootstrap_servers, "--data", str(settings.data.absolute())]
    if address.certificate:
        command += ["--certificate", str(address.certificate.absolute()), "--key", str((address.key or Path()).absolute())]
    settings.data.mkdir(parents=True, exist_ok=True)
    return supervised(command, settings.data.absolute() / "gateway.log")


@token.command()
def add(
    name: Annotated[str, typer.Argument(help="whose it is, for list and revoke")],
    scope: Annotated[list[str], typer.Option(help="VERTICAL:VERB, the verb read or write, the vertical may be all; repeatable")],
    data: Data = None,
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    text = TokenFile(read_settings(data).data).add(name, scope, verticals())
    console.print(text, soft_wrap=True, markup=False)


@token.command("list")
def listed(data: Data = None) -> None:
    """List tokens: name, scopes, and when each was made."""
    table = Table("name", "scopes", "made", box=None, pad_edge=False)
    for each in TokenFile(read_settings(data).data).read():
        table.add_row(each.name, " ".join(each.scopes), each.made)
    console.print(table)


@token.command()
def revoke(name: Annotated[str, typer.Argument(help="as it was given to add")], data: Data = None) -> None:
    """Make a token worthless; a running gateway knows within a second."""
    TokenFile(read_settings(data).data).revoke(name)
    console.print(f"{name} is revoked", markup=False)
