"""A virtual environment for each engine, made by plain pip from its pinned and hashed requirements, once."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import IO

from common.errors import UserError
from common.locks import locked


class NotInstalled(UserError):
    """An engine's packages cannot be installed here; the message says why."""


def ensure_environment(requirements: Path, home: Path) -> Path:
    """The Python of the environment for `requirements`, below `home`; made if it is not there. Raises NotInstalled."""
    name = requirements.name.split(".")[0]
    pinned = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = home.expanduser().absolute() / "peers" / f"{name}-{pinned}"
    python, installed = folder / "bin" / "python", folder / "installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if not installed.exists():
            log = folder.with_suffix(".log")
            with log.open("w") as output:
                run([sys.executable, "-m", "venv", "--clear", str(folder)], output, log)
                install = ["-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r", str(requirements)]
                run([str(python), *install], output, log)
            installed.touch()
    return python


def run(command: list[str], output: IO[str], log: Path) -> None:
    """Runs `command`, all that it says to `output`, which is the file `log`; raises NotInstalled when it fails."""
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT).returncode:
        raise NotInstalled(f"{why(log.read_text(errors='replace'))} (all of it: {log})")


def why(log: str) -> str:
    """Of pip's output, the line that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    return (errors or lines or ["pip said nothing"])[-1]
