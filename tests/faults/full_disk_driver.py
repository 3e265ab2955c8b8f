"""Run under `unshare -rm`: archive and detection on a small disk of its own that fills up, is freed, and is used again.

Arguments: mount point, the broker's address, where to copy the tables to in the end, the id of the generator to be stopped
when the disk has been full. Prints a JSON line of what happened.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from deltalake.exceptions import DeltaError

from common import tables

READY = {"archive": "archiving to", "detect": "judging"}
FAST = {"HYBRID_ARCHIVE_INTERVAL": "1", "HYBRID_CHECKPOINT_INTERVAL": "5", "COLUMNS": "200"}


def started(stage, data, *more):
    command = [sys.executable, "-m", "common.cli", stage, "finance_fraud", "--data", str(data), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **FAST})


def ended(process):
    printed, _ = process.communicate(timeout=300)
    return {"code": process.returncode, "printed": printed}


def fill(path):
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def compacted_when_full(table, ballast):
    """What compaction says on a full disk, and whether the table is then as it was and can be compacted once there is room."""
    before = tables.read_arrow(str(table)).num_rows
    fill(ballast)
    try:
        tables.compact(table)
        said = ""
    except (OSError, DeltaError) as error:
        said = str(error)
    readable = tables.read_arrow(str(table)).num_rows == before
    ballast.unlink()
    return {
        "said": said,
        "readable": readable,
        "replaced": tables.compact(table),
        "kept": tables.read_arrow(str(table)).num_rows == before,
    }


def main(disk, servers, copy, generator):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(disk)], check=True)
    os.environ["HYBRID_BOOTSTRAP_SERVERS"] = servers
    data, ballast = disk / "data", disk / "ballast"
    stages = {stage: started(stage, data) for stage in READY}
    for stage, process in stages.items():
        while READY[stage] not in (line := process.stdout.readline()):
            if not line:
                raise SystemExit(f"{stage} ended with {process.wait()} before it was at work")
    while not (events := data / "finance_fraud" / "tables" / "events").exists() or not tables.row_count(events):
        time.sleep(0.5)
    fill(ballast)
    told = {stage: ended(process) for stage, process in stages.items()}
    ballast.unlink()
    os.kill(generator, signal.SIGTERM)
    told["detect again"] = ended(started("detect", data, "--for", "45s"))
    told["archive again"] = ended(started("archive", data, "--until-idle"))
    told["compact"] = compacted_when_full(events, ballast)
    told["reconcile"] = ended(started("reconcile", data))
    shutil.copytree(data / "finance_fraud" / "tables", copy)
    print(json.dumps(told))


main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
