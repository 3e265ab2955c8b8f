"""Runs `hybrid gateway` (events in and alerts out over HTTP) and `hybrid token`, which makes and revokes its tokens."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from common.command_options import Data, Servers, VerticalOrAll
from common.gateway.address import Address
from common.gateway.tokens import TokenFile, Tokens, parse_end
from common.installed import find_verticals, vertical_names
from common.kafka.topics import ensure_topics
from common.runtime import existing_broker, read_settings
from common.settings import Settings
from common.terminal import console

DEFAULT = "127.0.0.1:8080"

Certificate = Annotated[Path | None, typer.Option(help="TLS: the certificate, PEM", show_default=False)]
Open = Annotated[
    bool | None,
    typer.Option("--open", help="serve this machine without a token, as long as there never was one", show_default=False),
]
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
    open_: Open = None,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Take events and give alerts over HTTP, until stopped; Kafka must be there, detection may run elsewhere.

    Whoever has a token (hybrid token add) is served; with --open this machine without one, until there is one. Beyond this
    machine TLS is needed, too.
    """
    # The server's libraries take a second to import, which no other command has to wait for.
    from common.gateway.server import run_gateway

    address, verticals = Address.parse(http, certificate, key), find_verticals(vertical)
    settings = read_settings(data, servers, gateway_open=open_)
    tokens = Tokens(TokenFile(settings.data))
    address.check(tokens)
    connection = existing_broker(settings)
    for declared_vertical in verticals:
        ensure_topics(connection, declared_vertical, settings.partitions, settings.replication)

    def announce() -> None:
        console.print(
            f"gateway at {address.url}, for {_describe_clients(tokens, settings, address)}; Ctrl-C ends it", soft_wrap=True
        )

    run_gateway(verticals, settings, connection, address, announce)


def _describe_clients(tokens: Tokens, settings: Settings, address: Address) -> str:
    """Whom the gateway serves, for people."""
    if tokens.is_in_use:
        remark = f", as there was one: --open changes nothing ({settings.data / 'gateway'} tells)"
        return "whoever has a token" + remark * settings.gateway_open
    if settings.gateway_open and address.is_loopback:
        return "this machine only, without a token"
    return "nobody yet: make a token (hybrid token add), or start it with --open for this machine without one"


@token.command()
def add(
    name: Annotated[str, typer.Argument(help="whose it is, for list and revoke")],
    scope: Annotated[list[str], typer.Option(help="VERTICAL:VERB, the verb read or write, the vertical may be all; repeatable")],
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="its last day, UTC, or a time: 2026-12-31, 2026-12-31T18:00Z", show_default=False),
    ] = None,
    data: Data = None,
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    text = TokenFile(read_settings(data).data).add(name, scope, vertical_names(), parse_end(until) if until else None)
    console.print(text, soft_wrap=True, markup=False)


@token.command("list")
def list_tokens(data: Data = None) -> None:
    """List tokens: name, scopes, when each was made, and until when it is good."""
    table = Table("name", "scopes", "made", "until", box=None, pad_edge=False)
    for entry in TokenFile(read_settings(data).data).read():
        until = (entry.until or "") + (" (over)" if entry.has_ended() else "")
        table.add_row(Text(entry.name), " ".join(entry.scopes), entry.made, until)
    console.print(table)


@token.command()
def revoke(name: Annotated[str, typer.Argument(help="as it was given to add")], data: Data = None) -> None:
    """Make a token worthless; a running gateway knows within a second."""
    TokenFile(read_settings(data).data).revoke(name)
    console.print(f"{name} is revoked", markup=False)
