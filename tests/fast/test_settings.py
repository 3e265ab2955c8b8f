"""Settings: spans of time, and whatever a variable may hold."""

import os
from datetime import timedelta
from unittest.mock import patch

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from common.command_options import duration
from common.installed import find_vertical, vertical_names
from common.settings import Settings, SettingsError, load, parse_span

SPANS = {
    "1 second": timedelta(seconds=1), "90 minutes": timedelta(hours=1.5), "2 weeks": timedelta(days=14),
    "90": timedelta(seconds=90), "60s": timedelta(minutes=1), "5m": timedelta(minutes=5), "2h": timedelta(hours=2),
    "1d": timedelta(days=1), "1.5h": timedelta(minutes=90), "0.25": timedelta(milliseconds=250), "1.5 days": timedelta(hours=36),
}  # fmt: skip
NO_SPANS = [
    "", "hours", "0 hours", "0", "0s", "-1 day", "-5", "1 month", "5x", "5 ", " 5", "1e3", "inf", "nan", "1 day 2 hours",
    "9999999 days", "999999999999w", "0.0000001",
]  # fmt: skip


@pytest.mark.parametrize(("text", "length"), SPANS.items())
def test_a_span_is_a_number_of_seconds_or_a_number_and_a_unit_in_settings_and_options_alike(text, length):
    assert parse_span(text) == length
    assert duration(text) == length.total_seconds()


@pytest.mark.parametrize("text", NO_SPANS)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"is no span of time: give 90 .seconds., 60s, 5m, 2h, '30 minutes'"):
        parse_span(text)
    with pytest.raises(typer.BadParameter, match="is no span of time"):
        duration(text)


def test_an_option_that_was_left_out_is_no_duration():
    assert duration(None) is None


@pytest.mark.parametrize(
    ("text", "interval"),
    [("30 minutes", "30 minutes"), ("1 day", "1 day"), ("90", "90 seconds"), ("5m", "300 seconds"), ("1.5h", "5400 seconds")],
)
def test_a_setting_that_is_a_span_is_text_that_spark_reads_as_an_interval(text, interval, monkeypatch):
    monkeypatch.setenv("FINANCE_FRAUD_WATERMARK", text)
    assert load(find_vertical("finance_fraud").settings).watermark == interval


def test_a_setting_of_a_fraction_of_a_second_is_refused(monkeypatch):
    monkeypatch.setenv("FINANCE_FRAUD_WATERMARK", "1.5")
    with pytest.raises(SettingsError, match=r"FINANCE_FRAUD_WATERMARK: .*give whole seconds"):
        load(find_vertical("finance_fraud").settings)


@pytest.mark.parametrize("name", vertical_names())
def test_no_vertical_takes_a_word_for_a_span(name, monkeypatch):
    settings = find_vertical(name).settings
    spans = [field for field, about in settings.model_fields.items() if _is_span(about.default)]
    assert "watermark" in spans
    for field in spans:
        with monkeypatch.context() as changed:
            changed.setenv(f"{name}_{field}".upper(), "soon")
            with pytest.raises(SettingsError, match=f"{f'{name}_{field}'.upper()}: .*'soon'"):
                load(settings)


def _is_span(default):
    try:
        return bool(parse_span(default))
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize(("field", "value"), [("bot_slide", "3 hours"), ("demand_hours", "1"), ("stock_window", "12 hours")])
def test_windows_that_would_leave_gaps_are_refused(field, value, monkeypatch):
    monkeypatch.setenv(f"RETAIL_BEHAVIOR_{field.upper()}", value)
    with pytest.raises(SettingsError, match="leave gaps"):
        load(find_vertical("retail_behavior").settings)


def test_variables_that_kubernetes_gives_for_a_service_of_our_name_are_none_of_ours(monkeypatch):
    for service in ("HYBRID_GATEWAY", "FINANCE_FRAUD", "HYBRID"):
        variables = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8080", "SERVICE_PORT_HTTP": "8080", "PORT": "tcp://10.0.0.1:8080",
                 "PORT_8080_TCP": "tcp://10.0.0.1:8080", "PORT_8080_TCP_PROTO": "tcp", "PORT_8080_TCP_PORT": "8080",
                 "PORT_8080_TCP_ADDR": "10.0.0.1"}  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(f"{service}_{name}", value)
    assert load(Settings) == Settings()
    load(find_vertical("finance_fraud").settings)
    for unlike in ("HYBRID_GATEWAY_PORTS", "HYBRID_GATEWAY_SERVICE_HOSTS", "HYBRID_OTHER_PORT"):
        with monkeypatch.context() as changed:
            changed.setenv(unlike, "1")
            with pytest.raises(SettingsError, match=unlike):
                load(Settings)


NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from(["1e400", "-0", "0x10", "1_0", "10 ", "2G", "0g"])).map(str)
BYTES = st.binary(max_size=8).filter(lambda value: b"\0" not in value).map(os.fsdecode)


@given(st.sampled_from(sorted(Settings.model_fields)), NUMBERS | BYTES)
def test_whatever_a_variable_holds_is_a_setting_or_refused_by_name(field, value):
    name = f"HYBRID_{field}".upper()
    with patch.dict(os.environ, {name: value}):
        try:
            setting = getattr(load(Settings), field)
        except SettingsError as refused:
            assert name in str(refused)
        else:
            str(setting).encode()


TIMES = ["checkpoint_interval", "archive_interval", "future_tolerance", "delivery_timeout", "gateway_timeout", "vacuum_hours"]


@pytest.mark.parametrize("field", TIMES)
def test_a_time_that_nothing_below_could_count_is_refused(field, monkeypatch):
    monkeypatch.setenv(f"HYBRID_{field}".upper(), "99999999999999999999")
    with pytest.raises(SettingsError, match="less than or equal"):
        load(Settings)
