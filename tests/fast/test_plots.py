"""Plots of what records hold: any text is a label, and what cannot be drawn keeps nothing else from being done."""

import pandas as pd
import pytest

from common import charts
from common.charts import Bars, DailyLines, draw_all, draw_chart

BARS, LINES = Bars("Movers", "card", "amount", "EUR"), DailyLines("Loss", "card", "amount", "EUR")
TEXTS = ["$^$", "$x", "\\frac{", "x" * 100_000, "a\nb", "\x1b[2J", "", "日本"]


def rows(*names):
    return pd.DataFrame({"day": ["2026-01-01"] * len(names), "card": names, "amount": [float(n + 1) for n in range(len(names))]})


@pytest.mark.parametrize("chart", [BARS, LINES], ids=["bars", "lines"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_text_that_a_record_holds_is_a_label(tmp_path, chart):
    assert draw_chart(rows(*TEXTS), chart, tmp_path).stat().st_size > 1_000


def test_a_plot_that_cannot_be_drawn_is_said_and_the_others_are_there(tmp_path, monkeypatch, caplog):
    def breaks(chart):
        raise ValueError("no such thing")

    monkeypatch.setattr(charts, "_fill_bars", breaks)
    trends = {"moved": rows("a", "b")}
    assert [path.stem for path in draw_all(trends, [("moved", BARS), ("moved", LINES)], tmp_path)] == ["loss"]
    assert "'Movers' is not drawn: ValueError: no such thing" in caplog.text
