"""Machines that wear: a work order before the failure, and remaining life by the score of the PHM challenge.

    .venv/bin/hybrid examples predictive_maintenance

A domain made with `hybrid new`: batch learns each machine's healthy values, rules and a model compare readings with them.
"""

from common.authoring import Baseline, ModelSpec, Vertical
from examples.predictive_maintenance import baselines, detector, events, features, generator, settings, trends

VERTICAL = Vertical(
    name="predictive_maintenance",
    title="predictive maintenance",
    event_schema=events.EVENT_SCHEMA,
    contract=events.CONTRACT,
    event_id=events.EVENT_ID,
    entity=events.ENTITY,
    settings=settings.PredictiveMaintenanceSettings,
    queries=detector.QUERIES,
    population=settings.Population,
    generate_day=generator.generate_day,
    dirty_fields=generator.DIRTY_FIELDS,
    baselines={"machine": Baseline("machine_id", baselines.BASELINE)},
    learn=baselines.baselines,
    trends=trends.trends,
    charts=trends.CHARTS,
    model=ModelSpec(features.FEATURES, features.with_features),
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    small={"machines": 60},
)
