"""Lists all of the core that a vertical may import. Other modules of the core may change without notice.

Declaring: Vertical, Query, Rule, Baseline, ModelSpec, Scenario, charts and formats. Rules: judge, thresholds, expressions.
Settings with spans of time. Simulation: what generators are made of. Models: drift, calibration, an online detector.
"""

from common.alerts import alert_rows
from common.charts import Bars, Chart, DailyLines
from common.columns import let
from common.formats import Format, Json, Untranslatable, as_text, object_of, without_nulls
from common.models.calibration import reliability
from common.models.drift import stability
from common.models.online_detector import OnlineDetector
from common.models.scoring import with_score
from common.models.training import TrainedModel
from common.rules import Rule, entity_and_window, judge, threshold_names
from common.settings import Span, leave_no_gap, load, parse_span
from common.simulation.anomalies import bursts, case_count, draw_distinct, episodes
from common.simulation.arrivals import delays, event_sources
from common.simulation.dirt import DirtyFields
from common.simulation.drift import growth, shifted_share
from common.simulation.generated_events import EventColumns, GeneratedEvents
from common.simulation.messages import object_array
from common.simulation.randomness import EVERY_DAY, random_for
from common.simulation.seasonality import DAY_SECONDS, is_weekend, seconds_of_day, to_utc, weekday_weight
from common.simulation.space import distance_km, scatter
from common.thresholds import threshold, with_thresholds
from common.vertical import Baseline, ModelSpec, Query, Scenario, Vertical

__all__ = [
    "DAY_SECONDS",
    "EVERY_DAY",
    "Bars",
    "Baseline",
    "Chart",
    "DailyLines",
    "DirtyFields",
    "EventColumns",
    "Format",
    "GeneratedEvents",
    "Json",
    "ModelSpec",
    "OnlineDetector",
    "Query",
    "Rule",
    "Scenario",
    "Span",
    "TrainedModel",
    "Untranslatable",
    "Vertical",
    "alert_rows",
    "as_text",
    "bursts",
    "case_count",
    "delays",
    "distance_km",
    "draw_distinct",
    "entity_and_window",
    "episodes",
    "event_sources",
    "growth",
    "is_weekend",
    "judge",
    "leave_no_gap",
    "let",
    "load",
    "object_array",
    "object_of",
    "parse_span",
    "random_for",
    "reliability",
    "scatter",
    "seconds_of_day",
    "shifted_share",
    "stability",
    "threshold",
    "threshold_names",
    "to_utc",
    "weekday_weight",
    "with_score",
    "with_thresholds",
    "without_nulls",
]
