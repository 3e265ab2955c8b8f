"""Card fraud: transactions judged in real time, cards and terminals studied in batch."""

from common.vertical import Baseline, ModelSpec, Vertical
from finance_fraud import detector, events, features, generator, trends
from finance_fraud.settings import FraudSettings, Population

VERTICAL = Vertical(
    name="finance_fraud",
    title="card fraud",
    event_schema=events.EVENT_SCHEMA,
    contract=events.CONTRACT,
    event_id=events.EVENT_ID,
    entity=events.ENTITY,
    settings=FraudSettings,
    queries=detector.QUERIES,
    population=Population,
    generate=generator.generate,
    generate_day=generator.generate_day,
    baselines={"card": Baseline("card_id", trends.CARD_BASELINE), "terminal": Baseline("terminal_id", trends.TERMINAL_BASELINE)},
    learn=trends.baselines,
    trends=trends.trends,
    plots=trends.plots,
    model=ModelSpec(features.FEATURES, features.with_features, features.exact_windows),
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    small={"cards": 300, "terminals": 100},
)
