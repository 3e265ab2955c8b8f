"""One Spark session for all layers of a process, and where the real data lies when it is there."""

import base64
import ipaddress
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import settings

from common.privacy.keys import use_data_folder

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Before scikit-learn is imported: two OpenMP threads on busy cores wait for each other, twenty times longer than one works.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def short_lived_java() -> None:
    """Java that a test starts is at work for a minute or so: it would pay for its second compiler and not live to gain by it."""
    from common.spark.options import COMPILE_QUICKLY

    os.environ.setdefault("JDK_JAVA_OPTIONS", COMPILE_QUICKLY)
    # Spark's alone: the default collector marks beside the work, for a tenth of a session's processor time, to keep pauses short.
    os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:+UseParallelGC")


# Queries over a handful of rows are walked through: writing their code and compiling it takes Spark and Java seconds a query.
WALKED_THROUGH = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For what has none of its own: no test leaves a key in the folder that the tests are run in."""
    use_data_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    from common.spark.session import start_session

    session = start_session("tests", task_slots=12, folder=tmp_path_factory.mktemp("spark"))
    for name, value in WALKED_THROUGH.items():
        session.conf.set(name, value)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def compiling(spark) -> Callable[[], AbstractContextManager[None]]:
    """In a block of it queries are compiled, as a user's are: where what is compiled is what is tested, and over much data."""

    @contextmanager
    def compiling() -> Iterator[None]:
        for name in WALKED_THROUGH:
            spark.conf.unset(name)
        try:
            yield
        finally:
            for name, value in WALKED_THROUGH.items():
                spark.conf.set(name, value)

    return compiling


@pytest.fixture(scope="module")
def compiled(compiling) -> Iterator[None]:
    """All queries of a module are compiled."""
    with compiling():
        yield


def not_run(needed: str) -> NoReturn:
    """The test ends as "not run, needs ...", which the last lines list; in CI, where everything has to be, it fails."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not run, needs {needed}")


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """(name, Debian's package) -> its path. `make test` installs the packages where it may: PROGRAMS in the Makefile."""

    def find(name: str, package: str) -> str:
        return shutil.which(name) or not_run(f"the program {name} (Debian: apt-get install {package})")

    return find


@pytest.fixture(scope="session")
def shown() -> Callable[[bytes, bytes], list[str]]:
    """(secret, content) -> the forms, of those in which programs write bytes, in which the secret stands in the content."""

    def find(secret: bytes, content: bytes) -> list[str]:
        lower = content.lower()
        return [name for name, form in _forms(secret) if form in content or (name == "hex" and form in lower)]

    return find


def _forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw", secret
    yield "hex", secret.hex().encode()
    for before in range(3):  # base64 writes three bytes at once: where it begins decides how the bytes look
        encoded = base64.b64encode(b"\0" * before + secret).rstrip(b"=")[-(-before * 8 // 6) : -1]
        yield "base64", encoded
        yield "base64 of links", encoded.translate(bytes.maketrans(b"+/", b"-_"))
    for numbers in (list(secret), [byte - 256 if byte > 127 else byte for byte in secret]):
        for between in (", ", ","):
            yield "numbers", between.join(map(str, numbers)).encode()
    yield "as Python writes it", repr(secret)[2:-1].encode()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the project."""
    return SHARED if SHARED.exists() else not_run(f"real data at {SHARED}")


@pytest.fixture(scope="session")
def make_certificate() -> Callable[..., tuple[Path, Path]]:
    """(folder, name, days it is valid) -> the paths of a certificate, and of it with its key."""

    def make(folder: Path, name: str, days: int = 1) -> tuple[Path, Path]:
        """A certificate that signs itself, for 127.0.0.1, with its key: paths of the certificate and of both in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        begin, end = datetime.now(UTC) - timedelta(9), datetime.now(UTC) + timedelta(days)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), begin, end)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        ).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.pem").write_bytes(certificate)
        (folder / f"{name}-and-key.pem").write_bytes(private + certificate)
        return folder / f"{name}.pem", folder / f"{name}-and-key.pem"

    return make
