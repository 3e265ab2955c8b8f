"""Class-data sharing: classes that Java has read, checked and linked once lie in a file, from which its next starts have them.

A Spark session loads some 20,000 classes from 300 jars before its first job is done: with the file it takes half the processor
time (docs/performance.md). Java itself checks that a file fits it and the jars, and does without where it does not.
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

QUIET = "-Xlog:cds*=off"  # a file that does not fit is no news for people
OLD = 30 * 86400.0  # seconds after which a file that no start has used is removed
SECONDS = 300.0  # that Java may take to write its own classes' file


def sharing_options(use: Use, java: Java, class_path: str, home: Path | None = None) -> list[str]:
    """Options for a Java that starts with `class_path`: none where no file was made for it (`make_class_data`)."""
    path = _path(use, java, class_path, home)
    if not path.exists():
        return []
    base = _base(java, home)
    files = [base, path] if base.exists() else [path]
    for file in files:
        with suppress(OSError):  # a cache that is another user's: it is read all the same
            os.utime(file)
    return [f"-XX:SharedArchiveFile={os.pathsep.join(map(str, files))}", QUIET]


def has_class_data(use: Use, java: Java, class_path: str, home: Path | None = None) -> bool:
    """Whether a file was made for this Java and class path."""
    return _path(use, java, class_path, home).exists()


def make_class_data(
    use: Use, java: Java, class_path: str, run: Callable[[Sequence[str]], None], home: Path | None = None
) -> bool:
    """Makes the file: `run` starts such a Java with the options that it is given, has it work, and returns when it has ended.

    Returns whether there is a file now: a Java of another make may not be able to. Raises OSError if the cache cannot be written.
    """
    path = _path(use, java, class_path, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_old(path.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
        new_file = Path(folder, path.name)
        base = _ensure_base(java, home)
        run([*([f"-XX:SharedArchiveFile={base}"] if base else []), f"-XX:ArchiveClassesAtExit={new_file}", QUIET])
        if new_file.exists():
            new_file.replace(path)
    return path.exists()


def _ensure_base(java: Java, home: Path | None) -> Path | None:
    """The file of Java's own classes, on which the others build: made here for a runtime that came without one."""
    base = _base(java, home)
    if not base.exists() and not _runs(java, "-Xshare:on", "-version"):
        with tempfile.TemporaryDirectory(prefix=".new-", dir=base.parent) as folder:
            new_file = Path(folder, base.name)
            if _runs(java, "-Xshare:dump", f"-XX:SharedArchiveFile={new_file}") and new_file.exists():
                new_file.replace(base)
    return base if base.exists() else None


def _runs(java: Java, *options: str) -> bool:
    answer = subprocess.run([str(java.executable), *options], capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS)
    return answer.returncode == 0


def _remove_old(folder: Path) -> None:
    for path in folder.glob("*.jsa"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD:
                path.unlink()


def _base(java: Java, home: Path | None) -> Path:
    return _folder(home) / f"java-{_digest(java, '')}.jsa"


def _path(use: Use, java: Java, class_path: str, home: Path | None) -> Path:
    return _folder(home) / f"{use}-{_digest(java, class_path)}.jsa"


def _folder(home: Path | None) -> Path:
    return (home or load(Settings).home).expanduser().absolute() / "classes"


def _digest(java: Java, class_path: str) -> str:
    """Of what a file was made for. Java looks at each jar itself; jars that were installed anew need a new file."""
    folders = {Path(entry.removesuffix("*")) for entry in class_path.split(os.pathsep) if entry.endswith("*")}
    installed = [str(folder.stat().st_mtime_ns) for folder in sorted(folders) if folder.exists()]
    return hashlib.sha256("\n".join([str(java.home), java.version, class_path, *installed]).encode()).hexdigest()[:12]
