"""Mobile network: the performance reports of cells are judged as they come, against what batch learnt of each cell's week.

    .venv/bin/hybrid run telecom_anomaly --for 60s

Batch learns every cell's normal week, forecasts its load and plans its capacity.
"""

from common.authoring import Baseline, Vertical
from telecom_anomaly import baselines, detector, events, generator, trends
from telecom_anomaly.formats.ves import VES
from telecom_anomaly.settings import Population, TelecomSettings

VERTICAL = Vertical(
    name="telecom_anomaly",
    title="mobile network",
    event_schema=events.EVENT_SCHEMA,
    contract=events.CONTRACT,
    event_id=events.EVENT_ID,
    entity=events.ENTITY,
    settings=TelecomSettings,
    queries=detector.QUERIES,
    population=Population,
    small={"sites": 8},  # a network of 24 cells, for tests
    generate_day=generator.generate_day,
    dirty_fields=generator.DIRTY_FIELDS,
    baselines={"cell": Baseline("cell_id", baselines.CELL_BASELINE)},
    learn=baselines.baselines,
    trends=trends.trends,
    charts=trends.CHARTS,
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    formats={VES.name: VES},
)
