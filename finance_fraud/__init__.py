"""Card fraud: every card transaction is scored within milliseconds against what batch learnt of its card and its terminal.

    .venv/bin/hybrid run finance_fraud --for 60s

Batch learns habits of cards and shares of fraud at terminals every night, trains the model, and reports frauds and losses.
"""

from common.authoring import Baseline, ModelSpec, Vertical
from finance_fraud import baselines, detector, events, features, generator, trends
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
    generate_day=generator.generate_day,
    dirty_fields=generator.DIRTY_FIELDS,
    baselines={
        "card": Baseline("card_id", baselines.CARD_BASELINE),
        "terminal": Baseline("terminal_id", baselines.TERMINAL_BASELINE),
    },
    learn=baselines.baselines,
    trends=trends.trends,
    charts=trends.CHARTS,
    model=ModelSpec(features.FEATURES, features.with_features, features.exact_windows),
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    small={"cards": 300, "terminals": 100},
)
