"""Tables on the screen: whoever has a narrow terminal, or none, reads every figure whole."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from common.batch.evaluation import Evaluation, RuleQuality, ScenarioQuality
from common.installed import find_vertical, vertical_names
from common.monitoring.alert_watch import TEXT_FIELDS, Percentiles, _read_alert
from common.monitoring.plain_table import plain_table
from common.monitoring.stage_report import alert_line
from common.monitoring.summary import evaluation_tables, latency_table, quality_tables
from common.printable import make_printable


def test_no_figure_is_cut_where_there_is_no_room_for_it():
    table = plain_table("Stages", "stage", "events", "events/s")
    table.add_row("gateway, one by one, steady", "2,000,028", "2,637,752")
    shown = printed(table, 40)
    assert "…" not in shown
    assert "gateway, one by one, steady" in shown


def printed(table, width):
    shown = io.StringIO()
    Console(file=shown, width=width).print(table)
    return shown.getvalue()


words = st.text("abcdefgh_", min_size=1, max_size=18)
texts = st.lists(words, min_size=1, max_size=4).map(" ".join)


@given(
    headings=st.lists(texts, min_size=2, max_size=8),
    rows=st.lists(st.lists(texts | st.integers(0, 10**9).map("{:,}".format), min_size=8, max_size=8), max_size=6),
    width=st.integers(20, 200),
)
def test_no_word_is_broken_at_any_width_that_it_fits_into(headings, rows, width):
    table = plain_table("title", *headings)
    for row in rows:
        table.add_row(*row[: len(headings)])
    shown = printed(table, width)
    assert all(len(line) <= width for line in shown.splitlines())
    seen = set(shown.replace(",", " ").replace(":", " ").split())
    for text in [*(headings if rows else []), *(cell for row in rows for cell in row[: len(headings)])]:
        assert set(text.replace(",", " ").split()) <= seen, shown


def measured(vertical):
    rules = [RuleQuality(rule.name, 12_345, 12_000) for rule in vertical.rules]
    scenarios = [
        ScenarioQuality(each.name, 1_234, 1_200, each.rules[0], 86_000.0, RuleQuality(", ".join(each.rules), 12_345, 12_000), 0.5)
        for each in vertical.scenarios
    ]
    return Evaluation(rules, scenarios, RuleQuality("all", 123_456, 120_000), 0.281)


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", vertical_names())
def test_the_tables_of_a_run_name_scenarios_and_rules_whole(name, width):
    vertical = find_vertical(name)
    found = measured(vertical)
    for table in (*quality_tables({name: found}), *list(evaluation_tables(found))[1:]):
        shown = printed(table, width)
        for scenario in vertical.scenarios:
            assert scenario.name in shown
    [quality] = quality_tables({name: found})
    assert all(rule in printed(quality, width) for scenario in vertical.scenarios for rule in scenario.rules)


def test_figures_stand_to_the_right_and_words_and_days_to_the_left():
    table = plain_table("", "name", "count", "day", "share", "why")
    table.add_row("a", "1,234", "2020-02-08", "81.2%", "late")
    table.add_row("bb", "-", "2020-02-09", "-", "of a day before")
    assert [line.rstrip() for line in printed(table, 60).splitlines()] == [
        "name  count  day         share  why",
        "a     1,234  2020-02-08  81.2%  late",
        "bb        -  2020-02-09      -  of a day before",
    ]


@pytest.mark.parametrize("cell", ["[/]", "[red]A", "[bold", "a\\[b]", "\x1b[2J\x1b[H", "a\nb", "\u202eb", "\ud800", "x" * 5_000])
def test_what_a_record_holds_is_shown_and_neither_taken_for_markup_nor_sent_to_the_terminal(cell):
    table = plain_table("Differences", "entity", "score")
    table.add_row(cell, "1")
    shown = printed(table, 6_000)
    assert make_printable(cell) in shown and "\x1b" not in shown
    assert len(shown.splitlines()) == 3 and make_printable(cell).isprintable()


def test_an_alert_forges_no_line_and_clears_no_screen():
    forged = {"entity_id": "c1\n12:00 critical forged", "reasons": "\x1b[2J\x07"}
    alert, _ = _read_alert(json.dumps(dict.fromkeys(TEXT_FIELDS, "2026-01-01T00:00:00Z") | forged).encode())
    assert alert_line(alert).isprintable()


def test_results_that_are_too_short_to_judge_by_say_so():
    rules = [RuleQuality("many", 1_000, 900), RuleQuality("few", 3, 3), RuleQuality("silent", 0, 0)]
    scenarios = [ScenarioQuality(name, cases, 1, "many", 60.0, rules[0], None) for name, cases in (("often", 30), ("rare", 2))]
    of_rules, of_scenarios = evaluation_tables(Evaluation(rules, scenarios, rules[0], 0.1))
    assert "a precision says little: few" in of_rules.caption and "many" not in of_rules.caption.split("little")[1]
    assert of_scenarios.caption.endswith("a longer run has more: rare")
    measured = {"velocity": Percentiles(1.0, 2.0, 3.0, 5_000), "spree": Percentiles(1.0, 2.0, 3.0, 12)}
    assert latency_table(measured, "two cores").caption == "two cores; of fewer than 1,000 updates p99 says little: spree"
    assert latency_table({"velocity": measured["velocity"]}).caption is None
