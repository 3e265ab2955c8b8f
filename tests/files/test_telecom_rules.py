"""What each rule of the radio network catches and what it leaves alone, on reports one can count."""

from datetime import datetime, timedelta
from math import exp, log1p

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import types as T

from telecom_anomaly import detector
from telecom_anomaly.baselines import CELL_BASELINE, HOURS, METRICS
from telecom_anomaly.events import EVENT_SCHEMA
from telecom_anomaly.settings import TelecomSettings

pytestmark = pytest.mark.files

START = datetime(2020, 3, 2, 8)
SETTINGS = TelecomSettings()
USUAL = {
    "DRB_UEThpDl": 20_000.0, "DRB_UEThpUl": 5_000.0, "DRB_RlcSduDelayDl": 200.0, "DRB_RlcPacketDropRateDl": 200.0,
    "DRB_PacketLossRateUl": 500.0, "DRB_RelActNbr": 1.0, "RRC_ConnEstabAtt": 400.0, "RRC_ConnEstabSucc": 396.0,
    "RRC_ConnMean": 40.0, "RRU_PrbTotDl": 40.0, "RRU_CellUnavailableTime": 0.0,
}  # fmt: skip
SPREAD = 0.1
BASELINE = {
    **{f"{metric}_median": [log1p(USUAL[name])] * HOURS for metric, name in METRICS.items()},
    **{f"{metric}_spread": [SPREAD] * HOURS for metric in METRICS},
    "known_values": [20] * HOURS, "refused_share": 0.01, "speed_empty": 30_000.0, "speed_slope": -250.0, "speed_residual": 0.0,
    "site_cells": 3,
}  # fmt: skip
SCHEMA = T.StructType(
    [
        *EVENT_SCHEMA,
        *CELL_BASELINE,
        T.StructField("baseline_version", T.StringType()),
        T.StructField("ingest_time", T.TimestampType()),
    ]
)


@pytest.fixture
def alerts_of(spark):
    """Alarms of a query over reports given as dictionaries."""

    def run(query, reports, settings=SETTINGS):
        rows = []
        for number, report in enumerate(reports):
            row = {
                "cell_id": "C1",
                "site_id": "S1",
                "event_time": START + timedelta(minutes=15 * number),
                "suspect_flag": False,
                "baseline_version": "b1",
                **USUAL,
                **BASELINE,
                **report,
            }
            row = {
                "report_id": f"{row['cell_id']}-{row['event_time']:%d%H%M}",
                "region": "north",
                "technology": "LTE",
                "ingest_time": row["event_time"],
                **row,
            }
            rows.append([row[field.name] for field in SCHEMA])
        return query(spark.createDataFrame(rows, SCHEMA), settings).collect()

    return run


@pytest.fixture
def alarms_of(alerts_of):
    """The same, by rule."""
    return lambda *arguments: {alarm.rule: alarm for alarm in alerts_of(*arguments)}


def off(name, deviations):
    """A measurement so many robust deviations from the hour of the week."""
    return {name: (USUAL[name] + 1) * exp(SPREAD * deviations) - 1}


def hours(count, **report):
    return [report] * (4 * count)


def test_a_usual_day_raises_nothing(alarms_of):
    assert alarms_of(detector.by_cell, hours(12)) == {}
    assert alarms_of(detector.by_site, [*hours(6), *hours(6, cell_id="C2")]) == {}


def test_nulls_everywhere_raise_nothing(alarms_of):
    nothing = dict.fromkeys((*USUAL, *BASELINE, "suspect_flag", "region", "technology"))
    gone = {**nothing, "RRU_PrbTotDl": 0.0}
    for query in (detector.by_cell, detector.by_site):
        assert alarms_of(query, hours(6, **gone)) == {}
    assert alarms_of(detector.by_cell, hours(6, **{**dict.fromkeys(BASELINE), **off("DRB_RlcSduDelayDl", 50)})) == {}


@pytest.mark.parametrize(
    ("name", "deviations", "caught"),
    [
        ("DRB_RlcSduDelayDl", 6.5, True),
        ("DRB_RlcSduDelayDl", 5.5, False),
        ("DRB_RlcPacketDropRateDl", 6.5, True),
        ("DRB_UEThpDl", -6.5, True),
        ("DRB_UEThpDl", 6.5, False),
        ("DRB_RlcSduDelayDl", -6.5, False),
    ],
)
def test_kpi_outlier_counts_deviations_towards_the_bad_side(alarms_of, name, deviations, caught):
    alarms = alarms_of(detector.by_cell, [{}, off(name, deviations), off(name, deviations), {}])
    assert set(alarms) == ({"kpi_outlier"} if caught else set())
    if caught:
        assert alarms["kpi_outlier"].score == pytest.approx(6.5, abs=0.01)
        assert alarms["kpi_outlier"].event == '["C1-020815","C1-020830"]'


def test_kpi_outlier_leaves_one_bad_report_and_what_load_explains_alone(alarms_of):
    assert alarms_of(detector.by_cell, [{}, off("DRB_RlcSduDelayDl", 11), {}]) == {}
    loaded = {**off("DRB_RlcSduDelayDl", 9), **off("RRU_PrbTotDl", 4)}
    assert alarms_of(detector.by_cell, hours(2, **loaded)) == {}


def test_an_hour_that_is_hardly_known_says_nothing(alarms_of):
    few = {"known_values": [SETTINGS.min_history - 1] * HOURS}
    assert alarms_of(detector.by_cell, hours(3, **few, **off("DRB_RlcSduDelayDl", 9))) == {}


def test_sleeping_cell_needs_two_hours_without_users(alarms_of):
    asleep = off("RRC_ConnEstabAtt", -8) | {"RRC_ConnEstabSucc": 178.0}
    assert alarms_of(detector.by_cell, [*hours(2), *hours(1, **asleep), *hours(2)]) == {}
    alarms = alarms_of(detector.by_cell, [*hours(2), *hours(3, **asleep)])
    assert set(alarms) == {"sleeping_cell"} and alarms["sleeping_cell"].score == pytest.approx(8, abs=0.01)


def test_a_quiet_holiday_is_no_sleeping_cell(alarms_of):
    quiet = off("RRC_ConnEstabAtt", -5) | {"RRC_ConnEstabSucc": 240.0}
    assert alarms_of(detector.by_cell, hours(8, **quiet)) == {}


def test_a_cell_that_is_not_on_the_air_is_no_sleeping_cell(alarms_of):
    gone = {"RRC_ConnEstabAtt": 0.0, "RRC_ConnEstabSucc": 0.0}
    assert alarms_of(detector.by_cell, hours(4, **gone, RRU_CellUnavailableTime=900.0)) == {}
    assert alarms_of(detector.by_cell, hours(4, **gone, RRU_CellUnavailableTime=20.0)) == {}
    assert set(alarms_of(detector.by_cell, hours(4, **gone, RRU_CellUnavailableTime=None))) == {"sleeping_cell"}


def test_interference_is_uplink_loss_that_load_does_not_explain(alarms_of):
    alarms = alarms_of(detector.by_cell, hours(2, **off("DRB_PacketLossRateUl", 5)))
    assert set(alarms) == {"interference"}
    assert alarms_of(detector.by_cell, hours(2, **off("DRB_PacketLossRateUl", 4))) == {}
    assert alarms_of(detector.by_cell, hours(2, **off("DRB_PacketLossRateUl", 9), **off("RRU_PrbTotDl", 4))) == {}


def test_congestion_is_refused_connections_beyond_the_cells_usual_share(alarms_of):
    assert set(alarms_of(detector.by_cell, hours(2, RRC_ConnEstabSucc=360.0))) == {"congestion"}
    assert alarms_of(detector.by_cell, hours(2, RRC_ConnEstabSucc=360.0, refused_share=0.08)) == {}
    night = {"RRC_ConnEstabAtt": 12.0, "RRC_ConnEstabSucc": 11.0, "attempts_median": [log1p(12.0)] * HOURS}
    assert alarms_of(detector.by_cell, hours(2, **night)) == {}


def test_devices_that_all_call_at_once_are_no_congestion(alarms_of):
    assert alarms_of(detector.by_cell, hours(2, RRC_ConnEstabAtt=2_000.0, RRC_ConnEstabSucc=1_980.0)) == {}


def test_flapping_counts_changes_and_not_time_down(alarms_of):
    down = {"RRU_CellUnavailableTime": 300.0}
    alarms = alarms_of(detector.by_cell, [{}, down, {}, down, {}, down, {}])
    assert set(alarms) == {"flapping"} and alarms["flapping"].score == 6
    assert alarms_of(detector.by_cell, [{}, down, {}, down, {}, {}, {}]) == {}
    assert alarms_of(detector.by_cell, [{}, *hours(3, **down), {}]) == {}
    slow = [report for _ in range(4) for report in ({}, down, *hours(2))]
    assert alarms_of(detector.by_cell, slow) == {}


def at(period, **report):
    return {"event_time": START + timedelta(minutes=15 * period), **report}


def test_a_change_is_one_that_two_reports_in_a_row_have_seen(alarms_of):
    down = {"RRU_CellUnavailableTime": 300.0}
    alone = [at(period, **down) for period in (0, 2, 4, 6, 8)]
    assert alarms_of(detector.by_cell, alone) == {}
    on_the_air = [at(period, RRU_CellUnavailableTime=None) for period in (1, 3)]
    assert alarms_of(detector.by_cell, [*alone, *on_the_air]) == {}
    assert alarms_of(detector.by_cell, [*alone, *on_the_air, at(7)])["flapping"].score == 6
    late = [
        {**at(period, **more), "event_time": START + timedelta(minutes=15 * period, seconds=17 * period % 60)}
        for period, more in enumerate([{}, down] * 3)
    ]
    assert alarms_of(detector.by_cell, late)["flapping"].score == 6


def test_slow_drift_needs_a_loss_that_lasts_and_is_there_today(alarms_of):
    lost = {"DRB_UEThpDl": 20_000.0 * 0.85, "speed_residual": -0.15, "speed_median": [log1p(17_000.0)] * HOURS}
    alarms = alarms_of(detector.by_cell, hours(7, **lost))
    assert set(alarms) == {"slow_drift"} and alarms["slow_drift"].score == pytest.approx(14, abs=1)
    assert alarms_of(detector.by_cell, hours(7, **{**lost, "speed_residual": 0.0})) == {}
    assert alarms_of(detector.by_cell, hours(7, speed_residual=-0.3)) == {}
    assert alarms_of(detector.by_cell, hours(5, **lost)) == {}


def test_a_drift_shows_as_soon_as_four_of_six_hours_are_that_low(alarms_of):
    lost = {"DRB_UEThpDl": 20_000.0 * 0.85, "speed_median": [log1p(17_000.0)] * HOURS}
    day = [{**report, "speed_residual": -0.15} for report in (*hours(4, **lost), *hours(2))]
    assert set(alarms_of(detector.by_cell, day)) == {"slow_drift"}
    assert alarms_of(detector.by_cell, day[4:] + hours(1, speed_residual=-0.15)) == {}


def test_a_drift_once_told_is_not_taken_back_by_the_rest_of_the_day(alarms_of):
    lost = {"DRB_UEThpDl": 20_000.0 * 0.85, "speed_median": [log1p(17_000.0)] * HOURS}
    usual = {"DRB_UEThpDl": 20_000.0, "speed_median": [log1p(20_000.0)] * HOURS}
    day = [{**report, "speed_residual": -0.15} for report in (*hours(7, **lost), *hours(9, **usual))]
    before, after = alarms_of(detector.by_cell, day[:28]), alarms_of(detector.by_cell, day)
    assert before["slow_drift"].score == after["slow_drift"].score
    assert before["slow_drift"].alert_id == after["slow_drift"].alert_id


def test_throughput_that_load_takes_is_no_drift(alarms_of):
    loaded = {"DRB_UEThpDl": 15_000.0, "RRU_PrbTotDl": 60.0, "speed_median": [log1p(15_000.0)] * HOURS, "speed_residual": -0.15}
    assert alarms_of(detector.by_cell, hours(7, **loaded)) == {}


def of_site(cells, **report):
    """Two hours of usual reports of three cells of a site, then two hours in which `cells` of them have `report`."""
    return [
        {
            "cell_id": f"C{cell}",
            "event_time": START + timedelta(minutes=15 * period),
            **(report if period >= 8 and cell < cells else {}),
        }
        for period in range(16)
        for cell in range(3)
    ]


def test_cells_in_trouble_together_are_one_alarm_of_their_site_with_its_likely_cause(alarms_of):
    late = {**off("DRB_RlcSduDelayDl", 6), **off("DRB_RlcPacketDropRateDl", 5)}
    alarms = alarms_of(detector.by_site, of_site(3, **late))
    assert set(alarms) == {"site_alarm"}
    alarm = alarms["site_alarm"]
    assert (alarm.entity_id, alarm.score, alarm.severity) == ("S1", 4.0, "critical")
    assert alarm.reasons.startswith("3 cells of the site") and "backhaul" in alarm.reasons
    assert "power" in alarms_of(detector.by_site, of_site(3, RRU_CellUnavailableTime=900.0))["site_alarm"].reasons
    assert "beyond the site" in alarms_of(detector.by_site, of_site(3, **off("DRB_RlcSduDelayDl", 6)))["site_alarm"].reasons


def test_trouble_of_some_cells_or_by_load_is_not_the_sites(alarms_of):
    late = off("DRB_RlcSduDelayDl", 6)
    assert alarms_of(detector.by_site, of_site(2, **late)) == {}
    assert alarms_of(detector.by_site, of_site(3, **late, **off("RRU_PrbTotDl", 4))) == {}
    assert alarms_of(detector.by_site, hours(4, **late, site_cells=1)) == {}


def test_the_cells_of_a_site_are_those_that_batch_knows_and_not_those_that_have_reported_yet(alarms_of):
    late = off("DRB_RlcSduDelayDl", 6)
    first_two = [report for report in of_site(3, **late) if report["cell_id"] != "C2"]
    assert alarms_of(detector.by_site, first_two) == {}
    assert alarms_of(detector.by_site, [{**report, "site_cells": 2} for report in first_two])["site_alarm"].score == 4
    assert alarms_of(detector.by_site, [{**report, "site_cells": None} for report in of_site(3, **late)]) == {}


def test_a_sites_alarm_tells_of_the_cells_and_the_cause_of_its_worst_hour(alarms_of):
    earlier = [at(period, cell_id="C0", RRU_CellUnavailableTime=900.0) for period in range(-30, -10)]
    late = {**off("DRB_RlcSduDelayDl", 6), **off("DRB_RlcPacketDropRateDl", 5)}
    [*worst] = [at(period, cell_id=f"C{cell}", **late) for period in range(4) for cell in (1, 2, 3)]
    [alarm] = alarms_of(detector.by_site, [*earlier, at(0, cell_id="C4"), *worst]).values()
    assert alarm.reasons == "3 cells of the site in trouble: likely backhaul degraded"


def test_planned_work_is_left_alone(alarms_of):
    planned = {"suspect_flag": True, "RRU_CellUnavailableTime": 800.0, "RRC_ConnEstabAtt": 1.0, "RRC_ConnEstabSucc": 0.0}
    assert alarms_of(detector.by_cell, hours(4, **planned)) == {}
    assert alarms_of(detector.by_site, of_site(3, **planned)) == {}


def test_an_alarm_is_raised_changed_and_cleared_under_one_id(alarms_of):
    bad, worse = hours(1, **off("DRB_PacketLossRateUl", 5)), hours(1, **off("DRB_PacketLossRateUl", 12))
    alarms = [
        alarms_of(detector.by_cell, reports)["interference"]
        for reports in (bad, [*bad, *worse], [*bad, *worse, *hours(1)[:3]], [*bad, *worse, *hours(1)])
    ]
    assert [alarm.severity for alarm in alarms] == ["major", "critical", "critical", "cleared"]
    assert len({alarm.alert_id for alarm in alarms}) == 1
    assert alarms[-1].score == alarms[1].score == pytest.approx(12, abs=0.01)
    assert alarms[-1].versions.baseline == "b1"


def test_a_lone_report_in_trouble_does_not_bring_an_alarm_back(alarms_of):
    bad, faint = off("DRB_PacketLossRateUl", 12), off("DRB_PacketLossRateUl", 2.6)
    morning = [*(at(period, **bad) for period in range(8)), *(at(period) for period in range(8, 28))]
    over = alarms_of(detector.by_cell, morning)["interference"]
    later = alarms_of(detector.by_cell, [*morning, at(28, **faint)])["interference"]
    assert over.severity == later.severity == "cleared" and later.score == over.score
    again = alarms_of(detector.by_cell, [*morning, *(at(period, **bad) for period in (28, 29))])["interference"]
    assert again.severity == "critical" and again.alert_id == over.alert_id


def test_an_alarm_lasts_as_long_as_its_reports_reach_the_threshold_together(alarms_of):
    bad, fainter = off("DRB_PacketLossRateUl", 12), off("DRB_PacketLossRateUl", 5)
    day = [*(at(period, **bad) for period in range(4)), *(at(period, **fainter) for period in range(4, 12))]
    before, after = (alarms_of(detector.by_cell, [*day, at(last)])["interference"] for last in (14, 15))
    assert (before.severity, after.severity) == ("critical", "cleared")
    assert before.score == after.score == pytest.approx(12, abs=0.01)


def test_each_day_and_cell_has_an_alarm_of_its_own(alarms_of):
    late = hours(1, **off("DRB_PacketLossRateUl", 5))
    ids = {
        alarms_of(
            detector.by_cell,
            [
                {**report, **other, "event_time": START + timedelta(days=day, minutes=15 * number)}
                for number, report in enumerate(late)
            ],
        )["interference"].alert_id
        for day in (0, 1)
        for other in ({}, {"cell_id": "C2"})
    }
    assert len(ids) == 4


def test_neither_duplicates_nor_disorder_change_an_alarm(alarms_of):
    timed = [
        {**report, "event_time": START + timedelta(minutes=15 * number)}
        for number, report in enumerate([*hours(1), *hours(2, **off("DRB_PacketLossRateUl", 6)), *hours(1)])
    ]
    assert alarms_of(detector.by_cell, timed) == alarms_of(detector.by_cell, [*timed[::-1], *timed[3:9]])


ANY_REPORT = st.fixed_dictionaries(
    {
        "period": st.integers(0, 15),
        "cell": st.sampled_from([0, 1, 2]),
        "load": st.sampled_from([0, 0, 4]),
        "delay": st.sampled_from([0, 4.5, 9]),
        "drops": st.sampled_from([0, 6]),
        "loss": st.sampled_from([0, 3, 8]),
        "attempts": st.sampled_from([0, -4, -9]),
        "refused": st.sampled_from([0.01, 0.2]),
        "down": st.sampled_from([None, 0.0, 0.0, 300.0, 300.0]),
        "site_cells": st.sampled_from([None, 1, 2, 3, 3]),
    }
)


def report_of(name, report):
    """A report of the cell, and the site, of that name."""
    attempts = off("RRC_ConnEstabAtt", report["attempts"])
    return at(
        report["period"],
        **attempts,
        **off("RRU_PrbTotDl", report["load"]),
        **off("DRB_RlcSduDelayDl", report["delay"]),
        **off("DRB_RlcPacketDropRateDl", report["drops"]),
        **off("DRB_PacketLossRateUl", report["loss"]),
        RRC_ConnEstabSucc=attempts["RRC_ConnEstabAtt"] * (1 - report["refused"]),
        RRU_CellUnavailableTime=report["down"],
        cell_id=name,
        site_id=name,
        report_id=f"{report['period']}-{report['cell']}",
        site_cells=report["site_cells"],
    )


def test_no_score_falls_as_reports_are_added_in_whatever_order(alerts_of):
    """Each beginning of each day's reports, in the order drawn, is a cell, and a site, of its own."""
    rules = ("kpi_outlier", "sleeping_cell", "interference", "congestion", "flapping", "site_alarm")
    raised_rules = set()

    @given(st.lists(st.lists(ANY_REPORT, min_size=10, max_size=40), min_size=6, max_size=6))
    @settings(
        max_examples=3,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )
    def scores_only_grow(days):
        reports = [
            report_of(f"{day:02}-{count:02}", report)
            for day, drawn in enumerate(days)
            for count in range(1, len(drawn) + 1)
            for report in drawn[:count]
        ]
        every = TelecomSettings(**dict.fromkeys(rules, 1e-6))
        for query in (detector.by_cell, detector.by_site):
            scores = {(alert.rule, alert.entity_id): alert.score for alert in alerts_of(query, reports, every)}
            raised_rules.update(rule for rule, _ in scores)
            for rule in rules:
                for day, drawn in enumerate(days):
                    grown = [scores.get((rule, f"{day:02}-{count:02}"), 0.0) for count in range(1, len(drawn) + 1)]
                    assert grown == sorted(grown), rule

    scores_only_grow()
    assert raised_rules == set(rules)
