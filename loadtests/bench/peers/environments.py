"""Makes a virtual environment for each engine, once, by plain pip from its pinned and hashed requirements."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import IO

from common.errors import UserError
from common.locks import file_lock


class NotInstalled(UserError):
    """An engine's packages cannot be installed here; the message says why."""


def ensure_environment(requirements: Path, home: Path) -> Path:
    """The Python of the environment for `requirements`, below `home`; makes it if it is missing. Raises NotInstalled."""
    name = requirements.name.split(".")[0]
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = home.expanduser().absolute() / "peers" / f"{name}-{digest}"
    python, marker = folder / "bin" / "python", folder / "installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.with_suffix(".lock")):
        if not marker.exists():
            log = folder.with_suffix(".log")
            with log.open("w") as output:
                run_logged([sys.executable, "-m", "venv", "--clear", str(folder)], output, log)
                install = ["-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r", str(requirements)]
                run_logged([str(python), *install], output, log)
            marker.touch()
    return python


def run_logged(command: list[str], output: IO[str], log: Path) -> None:
    """Runs `command` with its output to `output`, which is the file `log`; raises NotInstalled when it fails."""
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT).returncode:
        raise NotInstalled(f"{failure_line(log.read_text(errors='replace'))} (all of it: {log})")


def failure_line(log: str) -> str:
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    return (errors or lines or ["pip printed nothing"])[-1]
