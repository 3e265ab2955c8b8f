"""A mobile network: performance reports of its cells judged in real time, capacity planned in batch."""

from common.vertical import Baseline, Vertical
from telecom_anomaly import baselines, detector, events, generator, scenarios, trends
from telecom_anomaly.formats import ves, ves_plain
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
    small={"sites": 8},
    generate=generator.generate,
    generate_day=generator.generate_day,
    baselines={"cell": Baseline("cell_id", baselines.CELL_BASELINE)},
    learn=baselines.learn,
    trends=trends.trends,
    plots=trends.plots,
    scenarios=scenarios.SCENARIOS,
    label_delay=generator.IDENTITY.label_delay,
    also_accepts=(ves.from_ves,),
    also_accepts_plain=(ves_plain.from_ves,),
)
