"""What the doctor finds on a machine, and what it says to do about it."""

import shutil
from types import SimpleNamespace

import pytest

from common import doctor
from common.embedded.java import JavaError
from common.settings import Settings


def findings(tmp_path, **settings):
    results = doctor.diagnose(Settings(home=tmp_path / "home", data=tmp_path / "data", **settings))
    return {finding.name: finding for finding in results}


def test_what_is_well_needs_no_remedy_and_what_is_not_has_one(tmp_path):
    for finding in findings(tmp_path).values():
        assert finding.ok == (finding.remedy == "")


def test_looking_makes_nothing(tmp_path):
    (tmp_path / "home").mkdir()
    findings(tmp_path)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "home" / "jars").exists()


def test_missing_jars_are_counted(tmp_path):
    assert "0 of 46" in findings(tmp_path)["jars of the embedded broker"].state


def test_without_java_the_remedy_is_told(tmp_path, monkeypatch):
    def none(home):
        raise JavaError("no Java works\nInstall a Java 21 runtime")

    monkeypatch.setattr(doctor, "find_java", none)
    java = findings(tmp_path)["Java"]
    assert (java.ok, java.state, java.remedy) == (False, "no Java works", "install a Java 21 runtime")


def test_a_full_disk_and_little_memory_are_findings(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30, total=2**31))
    by_name = findings(tmp_path)
    assert not by_name["free disk"].ok
    assert not by_name["memory"].ok


def test_a_data_folder_under_a_file_is_a_finding(tmp_path):
    (tmp_path / "file").write_text("")
    by_name = {finding.name: finding for finding in doctor.diagnose(Settings(home=tmp_path, data=tmp_path / "file" / "data"))}
    assert not by_name["data folder"].ok
    assert str(tmp_path / "file") in by_name["data folder"].state


@pytest.mark.timeout(30)
def test_a_broker_that_does_not_answer_is_a_finding_without_secrets(tmp_path):
    by_name = findings(tmp_path, bootstrap_servers="127.0.0.1:1", kafka_sasl_password="sesame")
    assert not by_name["broker"].ok
    assert "sesame" not in str(by_name)
