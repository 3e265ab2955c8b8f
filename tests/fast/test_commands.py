"""What the command line says to people: help, and a clear message for each kind of misuse."""

import os
import pkgutil
import re
import subprocess
import sys
from datetime import date
from importlib import import_module, metadata
from inspect import isclass
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

import common
from common import cli
from common.commands import redrive
from common.contract.expectations import ContractError
from common.embedded.ports import find_free_port
from common.errors import UserError
from common.installed import find_vertical, vertical_names
from common.kafka.connection import BrokerError
from common.runtime import workspace_of
from common.settings import Settings
from common.simulation.generated_events import GeneratedEvents, NotAnEvent
from common.workspace import Workspace

COMMANDS = (
    "run", "generate", "replay", "archive", "detect", "backfill", "train", "trends", "reconcile", "evaluate", "bench", "doctor",
    "setup", "broker", "topics", "verticals", "chaos", "redrive", "settings", "backtest", "promote", "rollback", "serve",
    "gateway", "token", "intake",
)  # fmt: skip


@pytest.fixture
def hybrid(monkeypatch, capsys, tmp_path):
    """Runs the command; gives its exit code and all it printed, on one line."""

    def run(*words, **environment):
        monkeypatch.setattr(sys, "argv", ["hybrid", *map(str, words)])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code, " ".join((printed.out + printed.err).split())

    monkeypatch.setenv("HYBRID_DATA", str(tmp_path / "data"))
    return run


def test_a_broker_that_has_ended_is_known_at_once(hybrid, tmp_path):
    (tmp_path / "data" / "kafka").mkdir(parents=True)
    (tmp_path / "data" / "kafka" / "port").write_text(f"{find_free_port()}\n")
    code, printed = hybrid("generate", "finance_fraud")
    assert code == 1
    assert "does not run" in printed and "hybrid broker" in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(hybrid, command):
    code, printed = hybrid(command, "--help")
    assert code == 0
    assert "Usage" in printed
    assert "--" in printed


def test_help_lists_every_command_in_one_group(hybrid):
    code, printed = hybrid("--help")
    assert code == 0
    listed = [name for names in cli.HELP_GROUPS.values() for name in names]
    assert sorted(listed) == sorted(get_command(cli.app).commands)
    assert all(f" {name} " in printed for name in listed) and all(f"{title}:" in printed for title in cli.HELP_GROUPS)


def test_what_a_command_writes_is_its_owners(hybrid, tmp_path):
    before = os.umask(0o022)
    try:
        code, printed = hybrid("settings", "finance_fraud", "--set", "amount_zscore=5", "--who", "ann")
    finally:
        os.umask(before)
    written = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert code == 0 and len(written) > 5, printed
    assert [str(path) for path in written if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(("before", "after"), [(0o755, 0o700), (0o775, 0o700), (0o750, 0o750), (0o700, 0o700)])
def test_a_folder_of_before_that_everybody_may_read_is_closed_which_is_said_once(tmp_path, capsys, before, after):
    vertical, settings = find_vertical("finance_fraud"), Settings(data=tmp_path)
    folder = tmp_path / "finance_fraud"
    folder.mkdir()
    folder.chmod(before)
    for _ in range(2):
        workspace_of(vertical, settings)
    assert folder.stat().st_mode & 0o777 == after
    assert capsys.readouterr().err.count("open to every user") == (before != after)


def test_what_redrive_decrypts_spark_is_to_encrypt_where_it_puts_it_on_a_disk(hybrid, monkeypatch):
    asked = {}

    def session(*_, **given):
        asked.update(given)
        raise BrokerError("no further")

    monkeypatch.setattr(redrive, "session_of", session)
    assert hybrid("redrive", "finance_fraud", "--dry-run") == (1, "hybrid: no further")
    assert asked == {"encrypts": True}


def test_an_unknown_vertical_is_named_with_the_nearest(hybrid):
    code, printed = hybrid("topics", "finance_frod")
    assert code == 1
    assert "did you mean finance_fraud" in printed


def test_a_misspelt_setting_stops_the_start(hybrid):
    code, printed = hybrid("doctor", HYBRID_CHECKPOINT_INTERVALL="5")
    assert code == 1
    assert "HYBRID_CHECKPOINT_INTERVAL?" in printed


def test_an_unreadable_setting_is_named(hybrid):
    code, printed = hybrid("doctor", HYBRID_PARTITIONS="many")
    assert code == 1
    assert "HYBRID_PARTITIONS" in printed


def test_a_data_folder_that_cannot_be_written_is_named(hybrid, tmp_path):
    (tmp_path / "file").write_text("")
    code, printed = hybrid("run", "finance_fraud", "--data", tmp_path / "file" / "below")
    assert code == 1
    assert "cannot be written" in printed
    assert "--data" in printed


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("train", "batch"),
        ("trends", "batch"),
        ("reconcile", "batch"),
        ("backtest --set amount_zscore=4", "backtest"),
        ("backfill", "backfill"),
    ],
)
def test_of_commands_that_write_the_same_tables_a_second_is_refused_while_one_runs(hybrid, tmp_path, command, work):
    with Workspace(tmp_path / "data", "finance_fraud").lock(work):
        code, printed = hybrid(*command.split(), "finance_fraud")
    assert code == 1
    assert f"{work} of finance_fraud runs in" in printed and "wait for its end" in printed


def test_without_a_broker_it_says_how_to_start_one(hybrid):
    code, printed = hybrid("detect", "finance_fraud")
    assert code == 1
    assert "hybrid broker" in printed


def test_a_broker_that_does_not_answer_is_named(hybrid):
    code, printed = hybrid("topics", "finance_fraud", "--bootstrap-servers", "127.0.0.1:1")
    assert code == 1
    assert "127.0.0.1:1" in printed


def test_a_file_that_is_not_there(hybrid, tmp_path):
    code, printed = hybrid("replay", "finance_fraud", "--file", tmp_path / "none.csv")
    assert code == 1
    assert "none.csv" in printed


@pytest.mark.parametrize("word", ["amount", "amount=AMOUNT_EUR", "amuont=AMT"])
def test_a_wrong_mapping_says_what_there_is(hybrid, tmp_path, word):
    file = tmp_path / "tx.csv"
    file.write_text("ID,AMT,CARD,TERMINAL,AT\n1,2,3,4,2020-01-01T00:00:00Z\n")
    mapping = ("transaction_id=ID", "card_id=CARD", "terminal_id=TERMINAL", "event_time=AT", word)
    code, printed = hybrid("replay", "finance_fraud", "--file", file, *(part for pair in mapping for part in ("--map", pair)))
    assert code == 1
    assert "am" in printed.lower()
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("fix", "said"),
    [
        ("amuont=1", "did you mean amount"),
        ("amount", "field=SQL"),
        ("amount=reflect('java.lang.System', 'exit', 1)", "reflect"),
    ],
)
def test_a_fix_that_is_none_says_what_is_wrong(hybrid, fix, said):
    code, printed = hybrid("redrive", "finance_fraud", "--fix", fix, "--dry-run")
    assert code == 1
    assert said in printed


def test_a_gateway_that_others_could_reach_needs_a_token_and_tls(hybrid):
    for command in ("gateway", "serve"):
        code, printed = hybrid(command, "all", "--http", "0.0.0.0:8080")
        assert code == 1
        assert "hybrid token add" in printed and "--certificate" in printed


def test_a_token_is_shown_once_listed_and_revoked(hybrid):
    code, token = hybrid("token", "add", "shop", "--scope", "finance_fraud:write")
    assert code == 0 and "." in token
    code, printed = hybrid("token", "list")
    assert code == 0 and "shop" in printed and "finance_fraud:write" in printed and token.split(".")[1] not in printed
    assert hybrid("token", "add", "guest", "--scope", "all:read", "--until", "2100-12-31")[0] == 0
    assert "2101-01-01" in hybrid("token", "list")[1]
    code, printed = hybrid("token", "add", "late", "--scope", "all:read", "--until", "2020-01-01")
    assert code == 1 and "is over" in printed
    assert hybrid("token", "revoke", "shop")[0] == 0
    code, printed = hybrid("token", "revoke", "shop")
    assert code == 1 and "no token named" in printed


@pytest.mark.parametrize("text", ["soon", "-5s", "0"])
def test_a_duration_that_is_none(hybrid, text):
    code, printed = hybrid("run", "finance_fraud", "--for", text)
    assert code == 2
    assert "60s" in printed


def test_history_that_is_not_there_yet(hybrid):
    code, printed = hybrid("topics")
    assert code == 2
    assert "VERTICAL" in printed


def test_a_defect_leaves_its_trace_in_a_file_and_not_on_the_screen(hybrid, monkeypatch):
    from common.commands import machine

    def broken(*_):
        raise RuntimeError("something that nobody foresaw")

    monkeypatch.setattr(machine, "diagnose", broken)
    code, printed = hybrid("doctor")
    assert code == 70
    assert "something that nobody foresaw" in printed
    assert "Traceback" not in printed


def test_the_end_waits_for_no_thread_and_all_that_was_printed_is_there():
    """Arrow's threads may hold Python objects when the interpreter is taken down, which aborts it."""
    script = """
import sys, threading, time
from common import cli
from common.embedded.ports import find_free_port
from common.workspace import Workspace
def main():
    threading.Thread(target=time.sleep, args=(600,)).start()
    print("done")
    sys.exit(3)
cli.main = main
cli.entry()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (3, "done\n")


def test_the_version_is_told(hybrid):
    code, printed = hybrid("--version")
    assert (code, printed) == (0, f"hybrid {metadata.version('hybrid-data-engineering')}")


def test_help_cuts_no_sentence_however_narrow_the_terminal(hybrid):
    _, printed = hybrid("--help", COLUMNS="80")
    assert "..." not in printed.partition("Commands")[2]
    assert "straight into the Delta tables, in parallel, from the generator of the live stream" in printed


# Caught where they are raised for, and never on the way to a command's end.
CAUGHT_WITHIN = {
    "MalformedJson", "Untranslatable",  # a record's, which goes to quarantine
    "UnreadablePattern", "UnsafeExpression",  # a fix's, a lock's: told as FixError, and with who holds it
    "AccessRefused", "InvalidCursor", "CursorExpired", "BodyRefused", "BufferFull", "BatchTooLarge", "LimitReached",
    "BrokerUnavailable", "KeyReused", "RequestInProgress", "NoAlertsTable", "AlertsUnreadable",  # a request's
    "_NotedMeanwhile",  # a topic that another command noted: nothing is left to do
}  # fmt: skip

# Not all of loadtests: its locustfile puts gevent in the place of sockets and threads.
BESIDE_THE_CORE = ("loadtests.bench", "loadtests.bench.peers", "loadtests.chaos", "loadtests.commands")


def test_no_error_that_we_have_a_word_for_is_called_unexpected():
    ours = set()
    for package in (common, *map(import_module, (*BESIDE_THE_CORE, *vertical_names()))):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("_job"):
                continue  # runs in another engine's environment
            found = vars(import_module(module.name)).values()
            ours |= {each for each in found if isclass(each) and issubclass(each, Exception) and each.__module__ == module.name}
    untold = {each.__name__ for each in ours if not issubclass(each, UserError)} - CAUGHT_WITHIN
    assert untold == set()


@pytest.mark.parametrize(
    "problem", [ContractError("field place: type struct is not supported"), NotAnEvent("field place: the generator gives ...")]
)
def test_what_is_wrong_with_a_vertical_is_told_as_that(hybrid, monkeypatch, problem):
    def broken(*_):
        raise problem

    monkeypatch.setattr("common.commands.machine.diagnose", broken)
    code, printed = hybrid("doctor")
    assert code == 1
    assert "field place" in printed and "unexpected" not in printed


@pytest.mark.parametrize("value", [{"lat": 1.0}, [1.0], 7, 1 + 2j])
def test_a_generator_s_value_that_no_event_can_hold_is_told_by_its_field(value):
    values = np.empty(2, object)
    values[:] = ["text", value]
    columns = {"place": values if not isinstance(value, complex) else np.array([value, value])}
    with pytest.raises(NotAnEvent, match="field place"):
        GeneratedEvents.from_columns(date(2020, 1, 1), columns, np.array(["", ""], object), np.zeros(2, "datetime64[ms]"), None)


TWICE = """
import os, signal, sys, threading, time
from common import cli

def twice():
    time.sleep(0.5)
    for _ in range(2):
        os.kill(os.getpid(), signal.{signal})
        time.sleep(0.1)

class Slow:
    def __enter__(self): return self
    def __exit__(self, *_):
        time.sleep(0.3)
        print("stopped what was started", flush=True)

def app():
    threading.Thread(target=twice, daemon=True).start()
    with Slow():
        time.sleep(30)

cli.app = app
cli.entry()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_comes_twice_at_once_ends_it_once_and_whole(name, code):
    script = TWICE.replace("{signal}", name)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (code, "stopped what was started\n"), ended.stderr
    assert "unexpected" not in ended.stderr


def test_an_error_that_a_signal_became_on_the_way_out_is_no_defect():
    script = TWICE.replace("{signal}", "SIGINT").replace("time.sleep(0.3)", "raise RuntimeError('release unlocked lock')")
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130 and "stopped" in ended.stderr and "unexpected" not in ended.stderr


def test_pages_and_messages_name_commands_that_there_are():
    root = Path(__file__).parents[2]
    files = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("*/README.md"), *root.glob("common/**/*.py"),
             *root.glob("common/template/**/*.tmpl")]  # fmt: skip
    named = {word for file in files for word in re.findall(r"\bhybrid ([a-z]+)\b", file.read_text())}
    assert len(named) > 20
    assert named - set(get_command(cli.app).commands) <= {"core"}, "or what follows it as a word, not as a command"
