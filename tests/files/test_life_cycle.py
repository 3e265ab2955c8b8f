"""The life of a model and of a threshold as a person leads it, command by command, over a history without a broker."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.files, pytest.mark.timeout(1800)]


@pytest.fixture
def hybrid(tmp_path):
    def run(command, *words, code=0):
        asked = [sys.executable, "-m", "common.cli", command, "finance_fraud", *words, "--data", str(tmp_path)]
        environment = {**os.environ, "COLUMNS": "200"}
        done = subprocess.run(asked, capture_output=True, text=True, timeout=600, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    return run


def test_backtest_promote_and_roll_back(hybrid):
    hybrid("backfill", "--days", "32")
    assert "no challenger" in hybrid("promote", code=1)
    hybrid("trends")
    first, second = (re.search(r"[Mm]odel (\w{12})", hybrid("train", "--as-of", day))[1] for day in ("2020-01-26", "2020-02-01"))
    assert first != second
    promoted = hybrid("promote", "--who", "ann")
    assert f"model {second} in force" in promoted and "no event that both scored" in promoted
    assert f"model {first} in force again" in hybrid("rollback")
    hybrid("rollback", code=1)

    rehearsed = hybrid("backtest", "--set", "amount_zscore=6", "--days", "2")
    assert "amount_outlier" in rehearsed and "backtest" in rehearsed
    assert "greater than 0" in hybrid("backtest", "--set", "amount_zscore=-1", code=1)
    hybrid("settings", "--set", "amount_zscore=6", "--who", "ben")
    assert re.search(r"amount_zscore 6 2\.9 .* by ben", hybrid("settings"))
