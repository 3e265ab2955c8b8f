"""Makes and uses Java's class-data archives: files of classes that were read, checked and linked once, for the next starts.

A Spark session loads some 20,000 classes from 300 jars before its first job is done: with the archive it takes half the
processor time (docs/performance-notebook.md). Java checks that an archive fits it and the jars, and ignores one that does not.
"""

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from common.embedded.java import Java
from common.settings import Settings, load

Use = Literal["spark", "broker"]

QUIET_OPTION = "-Xlog:cds*=off"  # that an archive does not fit needs no one's attention
MAX_UNUSED_SECONDS = 30 * 86400.0  # after which an archive that no start has used is removed
JAVA_TIMEOUT_SECONDS = 300.0  # for Java to write the archive of its own classes


def sharing_options(use: Use, java: Java, class_path: str, home: Path | None = None) -> list[str]:
    """Options for a Java that starts with `class_path`: none where it has no archive (`make_class_data`)."""
    path = _archive_path(use, java, class_path, home)
    if not path.exists():
        return []
    base = _base_path(java, home)
    archives = [base, path] if base.exists() else [path]
    for archive in archives:
        with suppress(OSError):  # in another user's cache, which can be read all the same
            os.utime(archive)
    return [f"-XX:SharedArchiveFile={os.pathsep.join(map(str, archives))}", QUIET_OPTION]


def has_class_data(use: Use, java: Java, class_path: str, home: Path | None = None) -> bool:
    """Whether there is an archive for this Java and class path."""
    return _archive_path(use, java, class_path, home).exists()


def make_class_data(
    use: Use, java: Java, class_path: str, run: Callable[[Sequence[str]], None], home: Path | None = None
) -> bool:
    """Makes the archive. run: starts such a Java with the options that it is given, has it work, and returns when it has ended.

    Returns whether there is an archive now: not every make of Java can write one. Raises OSError if the cache cannot be written.
    """
    path = _archive_path(use, java, class_path, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_old(path.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
        new_file = Path(folder, path.name)
        base = _ensure_base(java, home)
        run([*([f"-XX:SharedArchiveFile={base}"] if base else []), f"-XX:ArchiveClassesAtExit={new_file}", QUIET_OPTION])
        if new_file.exists():
            new_file.replace(path)
    return path.exists()


def _ensure_base(java: Java, home: Path | None) -> Path | None:
    """The archive of Java's own classes, on which the others build: made here for a runtime that came without one."""
    base = _base_path(java, home)
    if not base.exists() and not _run_java(java, "-Xshare:on", "-version"):
        with tempfile.TemporaryDirectory(prefix=".new-", dir=base.parent) as folder:
            new_file = Path(folder, base.name)
            if _run_java(java, "-Xshare:dump", f"-XX:SharedArchiveFile={new_file}") and new_file.exists():
                new_file.replace(base)
    return base if base.exists() else None


def _run_java(java: Java, *options: str) -> bool:
    """Whether Java ends well with these options."""
    command = [str(java.executable), *options]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=JAVA_TIMEOUT_SECONDS).returncode == 0


def _remove_old(folder: Path) -> None:
    for path in folder.glob("*.jsa"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MAX_UNUSED_SECONDS:
                path.unlink()


def _base_path(java: Java, home: Path | None) -> Path:
    return _folder(home) / f"java-{_digest(java, '')}.jsa"


def _archive_path(use: Use, java: Java, class_path: str, home: Path | None) -> Path:
    return _folder(home) / f"{use}-{_digest(java, class_path)}.jsa"


def _folder(home: Path | None) -> Path:
    return (home or load(Settings).home).expanduser().absolute() / "classes"


def _digest(java: Java, class_path: str) -> str:
    """A hash of what an archive is for. Java itself compares single jars; in a folder, jars installed anew need a new archive."""
    folders = {Path(entry.removesuffix("*")) for entry in class_path.split(os.pathsep) if entry.endswith("*")}
    installed = [str(folder.stat().st_mtime_ns) for folder in sorted(folders) if folder.exists()]
    return hashlib.sha256("\n".join([str(java.home), java.version, class_path, *installed]).encode()).hexdigest()[:12]
