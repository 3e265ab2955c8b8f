"""Builds the command `hybrid` from its subcommands, and turns errors into messages and exit codes."""

import logging
import os
import sys
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from common.commands import examples, gateway, history, intake, machine, models, new, redrive, run, serve, stages, tuning
from common.commands.ending import end_at_signals, ending_signal
from common.errors import UserError, first_line, is_machine_error
from common.failures import failure_trace
from common.terminal import console, error_console

# The group of entry points of functions that take the application and add commands to it.
COMMANDS_GROUP = "hybrid.commands"

# Commands by what they are for, in the order in which a newcomer needs them.
HELP_GROUPS = {
    "Begin": ("run", "examples", "doctor", "setup", "verticals"),
    "Keep running": ("serve", "gateway", "token"),
    "The stream, a stage at a time": ("broker", "topics", "generate", "replay", "intake", "detect", "archive", "redrive"),
    "History": ("backfill", "train", "trends", "reconcile", "evaluate"),
    "Rules and models": ("settings", "backtest", "promote", "rollback"),
    "A domain of your own": ("new",),
    "Measure, and break": ("bench", "chaos"),
}


class GroupedCommands(TyperGroup):
    """Lists its commands by what they are for, each with its whole first sentence, on as many lines as that takes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sentences = {
            name: command.get_short_help_str(limit=1_000)
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name))
        }
        for title, names in HELP_GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, sentences.pop(name)) for name in names if name in sentences])
        if sentences:
            with formatter.section("Of other packages"):
                formatter.write_dl(list(sentences.items()))


app = typer.Typer(
    name="hybrid",
    cls=GroupedCommands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Stream and batch on one core: events through Kafka, judged in real time, kept in Delta tables, studied by batch.",
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        console.print(f"hybrid {metadata.version('hybrid-data-engineering')}")
        raise typer.Exit


for module in (run, serve, gateway, stages, intake, redrive, history, tuning, models, new, examples, machine):
    module.add_to(app)
for entry_point in metadata.entry_points(group=COMMANDS_GROUP):  # of the load tests, or of another package
    entry_point.load()(app)


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print it, and end")] = False,
) -> None:
    pass


def entry() -> None:
    """Runs `main`, as the script `hybrid`, and then ends the process without taking the interpreter down.

    A thread of Arrow may release a Python object late; if the interpreter is being taken down by then, the process aborts
    with all its work done (apache/arrow issue 34314). What has to be closed was closed by its `with`.
    """
    code: Any = 0
    try:
        main()
    except SystemExit as exit_request:
        code = exit_request.code
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader may have ended
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Runs the command; ends by SystemExit. Exit codes: 1 a user's mistake, 2 wrong use of options, 70 a defect, 130 Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_not_of_py4j)
    # scikit-learn beside streams: on busy cores two OpenMP threads wait for each other, twenty times longer than one works.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    end_at_signals()
    os.umask(0o077)  # only its owner can read what we and our processes write (tables, topics, logs, traces)
    try:
        _run()
    except KeyboardInterrupt:
        error_console.print("stopped")
        sys.exit(130)
    except Exception as problem:
        if isinstance(problem, UserError) or is_machine_error(problem):
            error_console.print(f"hybrid: {problem}", style="red", markup=False, highlight=False)
            for note in getattr(problem, "__notes__", []):
                error_console.print(note, markup=False, highlight=False)
            sys.exit(1)
        if ending_signal():  # its exception, raised within a library, became another one, as of a lock released twice
            error_console.print("stopped")
            sys.exit(128 + ending_signal())
        trace = Path(tempfile.mkstemp(prefix="hybrid-error-", suffix=".log")[1])
        trace.write_text(failure_trace(problem) + "\n")
        error_console.print(
            f"hybrid: unexpected {type(problem).__name__}: {first_line(problem)}\nWhere it was raised is in {trace}",
            style="red",
            markup=False,
        )
        sys.exit(70)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    # py4j logs the whole trace of any failure in the JVM; our own error says in words what it means (queries.QueryEnded).
    return "py4j" not in Path(record.pathname).parts


def _run() -> None:
    try:
        app()
    except SystemError as problem:
        # A signal that comes while a C library works may only be raised at the next call, as the cause of this error.
        if isinstance(problem.__cause__, KeyboardInterrupt | SystemExit):
            raise problem.__cause__ from None
        raise


if __name__ == "__main__":
    entry()
