"""Thresholds that are published: what is refused, what is in force, and who changed what."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from inspect import getfile
from pathlib import Path
from threading import Barrier

import pytest

from common.installed import find_vertical
from common.published.live_thresholds import changed_settings, publish_settings, rules_version, settings_in_force, thresholds
from common.published.versions import versions
from common.settings import SettingsError, load

VERTICAL = find_vertical("finance_fraud")


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def standing(folder):
    return {each.name: each for each in thresholds(VERTICAL, folder)}


def test_what_was_published_last_is_in_force_before_environment_and_default(folder, monkeypatch):
    assert standing(folder)["velocity"].value == 6
    monkeypatch.setenv("FINANCE_FRAUD_VELOCITY", "7")
    assert standing(folder)["velocity"].value == 7
    publish_settings(VERTICAL, folder, {"velocity": "8", "spree": "4"}, "ann")
    publish_settings(VERTICAL, folder, {"velocity": "9"}, "ben")
    assert {name: (each.value, each.changed_by.details["who"]) for name, each in standing(folder).items() if each.changed_by} == {
        "velocity": (9, "ben"), "spree": (4, "ann")}  # fmt: skip
    publish_settings(VERTICAL, folder, {"velocity": None}, "ann")
    assert (standing(folder)["velocity"].value, standing(folder)["velocity"].changed_by) == (7, None)
    assert settings_in_force(VERTICAL, folder).spree == 4


def test_of_several_who_change_thresholds_at_once_none_loses_a_change(folder):
    at_once, changes = Barrier(4), dict.fromkeys(("velocity", "spree", "amount_zscore", "model_score"))

    def change(name, value):
        at_once.wait()
        publish_settings(VERTICAL, folder, {name: value}, name)

    for value in ("0.5", "0.25"):
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(change, name, value) for name in changes]:
                done.result()
        assert {name: (standing(folder)[name].value, standing(folder)[name].changed_by.details["who"]) for name in changes} == {
            name: (float(value), name) for name in changes
        }
    assert len(versions(folder)) == 8


def test_a_change_that_another_process_makes_between_our_look_and_our_commit_stays(folder, monkeypatch):
    publish_settings(VERTICAL, folder, {"velocity": "8"}, "ann")
    other = f"""
from common.published.live_thresholds import publish_settings
from common.installed import find_vertical
publish_settings(find_vertical("finance_fraud"), {folder!r}, {{"spree": "4"}}, "ben")
"""

    def looks_slowly(settings, **given):
        monkeypatch.undo()
        found = load(settings, **given)
        subprocess.run([sys.executable, "-c", other], check=True)
        return found

    monkeypatch.setattr("common.published.live_thresholds.load", looks_slowly)
    publish_settings(VERTICAL, folder, {"velocity": "9"}, "ann")
    assert {name: each.value for name, each in standing(folder).items() if each.changed_by} == {"velocity": 9, "spree": 4}
    assert [each.details["who"] for each in versions(folder)] == ["ann", "ben", "ann"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("velocity", "-1", "greater than 0"),
        ("velocity", "many", "valid number"),
        ("velocity", "inf", "finite"),
        ("model_score", "1.5", "less than or equal to 1"),
        ("velocty", "7", "did you mean velocity"),
        ("card_window", "1 hour", "FINANCE_FRAUD_CARD_WINDOW"),
    ],
)
def test_a_bad_value_is_refused_with_the_reason_and_the_old_one_stays(folder, name, value, message):
    publish_settings(VERTICAL, folder, {"velocity": "8"}, "ann")
    before = versions(folder)
    with pytest.raises(SettingsError, match=message):
        publish_settings(VERTICAL, folder, {"spree": "4", name: value}, "ben")
    assert versions(folder) == before
    assert standing(folder)["velocity"].value == 8


def test_a_threshold_that_shapes_a_window_is_changed_by_a_restart_only(folder):
    telecom = find_vertical("telecom_anomaly")
    with pytest.raises(SettingsError, match="TELECOM_ANOMALY_SILENT_CELL"):
        publish_settings(telecom, folder, {"silent_cell": "4"}, "ann")
    assert [each.name for each in thresholds(telecom, folder) if not each.live] == ["silent_cell", "online_anomaly"]


def test_any_setting_can_be_tried_on_history_if_it_is_one(folder):
    assert changed_settings(VERTICAL, folder, {"card_window": "6 hours"}).card_window == "6 hours"
    with pytest.raises(SettingsError, match="a burst of 20 minutes would be cut"):
        changed_settings(VERTICAL, folder, {"card_window": "250 minutes"})
    with pytest.raises(SettingsError, match=r"FINANCE_FRAUD_CARD_SLIDE: .*'a while' is no span of time"):
        changed_settings(VERTICAL, folder, {"card_slide": "a while"})
    with pytest.raises(SettingsError, match="windows of 2 days every 3 days leave gaps"):
        changed_settings(VERTICAL, folder, {"terminal_slide": "3 days"})
    with pytest.raises(SettingsError, match="did you mean card_window"):
        changed_settings(VERTICAL, folder, {"card_windw": "6 hours"})


def test_rules_are_named_by_their_content(monkeypatch, tmp_path):
    settings = load(VERTICAL.settings)
    assert rules_version(VERTICAL, settings) == rules_version(VERTICAL, load(VERTICAL.settings))
    assert rules_version(VERTICAL, settings) != rules_version(VERTICAL, settings.model_copy(update={"card_window": "6 hours"}))
    before = rules_version(VERTICAL, settings)
    package = shutil.copytree(Path(getfile(VERTICAL.settings)).parent, tmp_path / "package")
    monkeypatch.setattr("common.published.live_thresholds.getfile", lambda _: str(package / "settings.py"))
    assert rules_version(VERTICAL, settings) == before
    seen = [before]
    for file in (package / "detector.py", package / "rules" / "part.py"):
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + "# another rule\n")
        assert rules_version(VERTICAL, settings) not in seen
        seen.append(rules_version(VERTICAL, settings))


def test_a_threshold_that_a_vertical_has_no_longer_is_passed_over(folder):
    publish_settings(VERTICAL, folder, {"velocity": "8", "spree": "4"}, "ann")
    without = replace(VERTICAL, queries=tuple(query for query in VERTICAL.queries if query.name != "by_card"))
    assert settings_in_force(without, folder).velocity == 6


def test_the_command_lists_and_changes(capsys, monkeypatch, tmp_path):
    from common import cli
    from common.terminal import console

    monkeypatch.setenv("HYBRID_DATA", str(tmp_path))
    monkeypatch.setattr(console, "width", 200)
    monkeypatch.setattr("sys.argv", ["hybrid", "settings", "finance_fraud", "--set", "velocity=8", "--who", "ann"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert ended.value.code == 0
    assert lines["velocity"].split()[1:3] == ["8", "6"]
    assert "by ann" in lines["velocity"]
