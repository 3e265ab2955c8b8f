"""Run under `unshare -rm`: archive and detection on a small disk of their own that fills up, compaction on the full disk, and
after it is freed the archive again.

Arguments: mount point, the broker's address, where to copy the tables to in the end. Prints a JSON line of what happened.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common import tables


def start(stage, data, servers, *more):
    command = [sys.executable, "-m", "common.cli", stage, "finance_fraud", "--data", str(data)]
    environment = {**os.environ, "HYBRID_ARCHIVE_INTERVAL": "1", "HYBRID_CHECKPOINT_INTERVAL": "5", "COLUMNS": "200",
                   "HYBRID_BOOTSTRAP_SERVERS": servers}
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for(line, process):
    while line not in (printed := process.stdout.readline()):
        assert printed, f"it ended before it said {line!r}"


def compaction(table):
    """What compacting says on the full disk, and the rows before and after."""
    before, said = tables.row_count(table), ""
    try:
        tables.compact(table)
    except OSError as problem:
        said = str(problem)
    return {"said": said, "before": before, "after": tables.row_count(table)}


def fill(path):
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 4096)
            except OSError:
                return


def main(disk, servers, copy):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)], check=True)
    data, ballast = disk / "data", disk / "ballast"
    working = {stage: start(stage, data, servers) for stage in ("archive", "detect")}
    wait_for("archiving to", working["archive"])
    wait_for("judging", working["detect"])
    time.sleep(3)
    fill(ballast)
    told = {stage: (process.communicate(timeout=180)[0], process.returncode) for stage, process in working.items()}
    told["compaction"] = compaction(data / "finance_fraud" / "tables" / "events")
    ballast.unlink()
    again = start("archive", data, servers, "--until-idle")
    told["again"] = again.communicate(timeout=300)[0], again.returncode
    shutil.copytree(data / "finance_fraud" / "tables", copy)
    print(json.dumps(told))


main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
