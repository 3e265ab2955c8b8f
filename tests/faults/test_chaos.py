"""Archive, detection and broker killed with SIGKILL, while the clock jumps and known and fuzzed records come in: in the end
every one is counted."""

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


def test_nothing_is_lost_doubled_or_judged_wrongly_whatever_is_killed(tmp_path, jumping_clock):
    command = [sys.executable, "-m", "common.cli", "chaos", "finance_fraud", "--data", str(tmp_path)]
    size = ["--events", "20000", "--rate", "250", "--fuzz", "100", "--history-days", "10", "--seed", "3"]
    kills = ["--driver-kills", "2", "--broker-kills", "1", "--broker-away", "15"]
    environment = {**jumping_clock, "COLUMNS": "200", "HYBRID_CHECKPOINT_INTERVAL": "5"}
    chaos = subprocess.run([*command, *size, *kills], capture_output=True, text=True, timeout=1100, env=environment)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    assert "WRONG" not in chaos.stdout
    assert int(re.search(r"against history: equal +([\d,]+)", chaos.stdout)[1].replace(",", "")) > 20, chaos.stdout
    # Who was killed last may have had nothing left to do, so not every recovery is seen.
    recovered = re.findall(r"^(?:archive|detect|broker) +1 +1 +([\d.]+)", chaos.stdout, re.MULTILINE)
    assert recovered, chaos.stdout
