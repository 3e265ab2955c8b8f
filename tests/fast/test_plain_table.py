"""Tables on the screen: whoever has a narrow terminal, or none, reads every figure whole."""

import io

from rich.console import Console

from common.monitoring.summary import plain_table


def test_no_figure_is_cut_where_there_is_no_room_for_it():
    table = plain_table("Stages", "stage", "events", "events/s")
    table.add_row("gateway, one by one, steady", "2,000,028", "2,637,752")
    shown = io.StringIO()
    Console(file=shown, width=40).print(table)
    assert "…" not in shown.getvalue()
    assert "gateway, one by one, steady" in shown.getvalue()
