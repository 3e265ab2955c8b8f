"""The life of a model and of a threshold as a person leads it, command by command, over a history without a broker."""

import re
from datetime import date

import pytest
from typer.testing import CliRunner

from common import runtime
from common.batch.backfill import backfill
from common.cli import app
from common.errors import UserError
from common.installed import find_vertical
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

VERTICAL = find_vertical("finance_fraud")
START, DAYS = date(2020, 1, 1), 32


@pytest.fixture
def hybrid(spark, tmp_path, monkeypatch):
    """Runs a command over a history, in the Spark session of all tests."""
    monkeypatch.setattr(runtime, "start_session", lambda *_, **__: spark)
    monkeypatch.setattr(spark, "stop", lambda: None)
    backfill(
        spark,
        deployed(VERTICAL, Workspace(tmp_path, VERTICAL.name)),
        7,
        START,
        DAYS,
        VERTICAL.population(**VERTICAL.small, fraud=5),
    )

    def run(command, *words, refused=False):
        asked = [command, VERTICAL.name, *words, "--data", str(tmp_path)]
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, asked)
        assert isinstance(done.exception, UserError) if refused else done.exit_code == 0, done.output
        return " ".join(f"{done.output} {done.exception or ''}".split())

    return run


def test_backtest_promote_and_roll_back(hybrid):
    assert "no challenger" in hybrid("promote", refused=True)
    hybrid("trends")
    first, second = (re.search(r"[Mm]odel (\w{12})", hybrid("train", "--as-of", day))[1] for day in ("2020-01-26", "2020-02-01"))
    assert first != second
    promoted = hybrid("promote", "--who", "ann")
    assert f"model {second} in force" in promoted and "no event that both scored" in promoted
    assert f"model {first} in force again" in hybrid("rollback")
    hybrid("rollback", refused=True)

    rehearsed = hybrid("backtest", "--set", "amount_zscore=6", "--days", "2")
    assert "amount_outlier" in rehearsed and "backtest" in rehearsed
    assert "greater than 0" in hybrid("backtest", "--set", "amount_zscore=-1", refused=True)
    hybrid("settings", "--set", "amount_zscore=6", "--who", "ben")
    assert re.search(r"amount_zscore 6 2\.9 .* by ben", hybrid("settings"))
