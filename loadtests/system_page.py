"""Adds a page, /system, to locust's web interface that draws the system's figures; locust's own charts draw only requests."""

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from flask import Response

WIDTH, HEIGHT = 560, 120  # of a chart, in pixels
SHOWN_SECONDS = 600
REFRESH_SECONDS = 2


def render_chart(title: str, points: list[tuple[float, float]]) -> str:
    """One line over time from 0 to its highest value, as SVG. points: seconds and values, none below 0."""
    first, last = points[0][0], points[-1][0]
    highest = max(value for _, value in points)
    value_scale = highest or 1.0
    time_scale = (last - first) or 1.0
    line = " ".join(
        f"{(second - first) / time_scale * WIDTH:.1f},{HEIGHT - value / value_scale * HEIGHT:.1f}" for second, value in points
    )
    return (
        f"<figure><figcaption>{escape(title)}: {points[-1][1]:,.0f} now, {highest:,.0f} at most</figcaption>"
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 -2 {WIDTH} {HEIGHT + 4}">'
        f'<polyline fill="none" stroke="#28a" stroke-width="1.5" points="{line}"/></svg></figure>'
    )


def render_page(history: Iterable[dict[str, float]]) -> str:
    """All figures of the newest ten minutes; each second is a dictionary with `time` and what was known then."""
    samples = list(history)[-SHOWN_SECONDS:]
    names = dict.fromkeys(name for sample in samples for name in sample if name != "time")
    charts = [render_chart(name, [(sample["time"], sample[name]) for sample in samples if name in sample]) for name in names]
    body = "".join(charts) or "<p>Nothing is watched yet: start a load, without --no-watch.</p>"
    style = "body{font-family:sans-serif;margin:2em}figure{display:inline-block;margin:1em}svg{border-bottom:1px solid #999}"
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
    title = "The system under load"
    return f"<!doctype html><title>{title}</title>{refresh}<style>{style}</style><h1>{title}</h1>{body}"


def add_system_page(web_ui: Any, history: Callable[[], Iterable[dict[str, float]]]) -> None:
    """Add the page to locust's own web interface, behind its login where it has one."""

    def system() -> Response:
        return Response(render_page(history()), mimetype="text/html")

    web_ui.app.add_url_rule("/system", "system", web_ui.auth_required_if_enabled(system))
