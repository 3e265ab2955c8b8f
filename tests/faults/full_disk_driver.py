"""Run under `unshare -rm`: an archive on a small disk of its own that fills up, is freed, and is archived to again.

Arguments: mount point, the broker's address, where to copy the tables to in the end. Prints a JSON line of what happened.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def archive(data, servers, *more):
    command = [sys.executable, "-m", "common.cli", "archive", "finance_fraud", "--data", str(data)]
    environment = {**os.environ, "HYBRID_ARCHIVE_INTERVAL": "1", "COLUMNS": "200", "HYBRID_BOOTSTRAP_SERVERS": servers}
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


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
    archiving = archive(data, servers)
    while "archiving to" not in archiving.stdout.readline():
        pass
    time.sleep(3)
    fill(ballast)
    printed, _ = archiving.communicate(timeout=180)
    ballast.unlink()
    again = archive(data, servers, "--until-idle")
    printed_again, _ = again.communicate(timeout=300)
    shutil.copytree(data / "finance_fraud" / "tables", copy)
    print(json.dumps({
        "code": archiving.returncode, "printed": printed, "code_again": again.returncode, "printed_again": printed_again,
    }))


main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
