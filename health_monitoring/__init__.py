"""Patient monitoring: vital signs are judged in real time, by NEWS2 and against what batch learnt of each patient.

    .venv/bin/hybrid run health_monitoring --for 60s

Batch learns every patient's own normal, trains the risk model, and reports on wards and cohorts. Not a medical device.
"""

from common.authoring import Baseline, ModelSpec, Vertical
from health_monitoring import baselines, detector, events, features, generator, trends
from health_monitoring.formats.fhir import FHIR
from health_monitoring.settings import HealthSettings, Population

VERTICAL = Vertical(
    name="health_monitoring",
    title="patient monitoring",
    event_schema=events.EVENT_SCHEMA,
    contract=events.CONTRACT,
    event_id=events.EVENT_ID,
    entity=events.ENTITY,
    settings=HealthSettings,
    queries=detector.QUERIES,
    population=Population,
    generate_day=generator.generate_day,
    dirty_fields=generator.DIRTY_FIELDS,
    baselines={"patient": Baseline("patient_id", baselines.PATIENT_BASELINE)},
    learn=baselines.baselines,
    trends=trends.trends,
    charts=trends.CHARTS,
    model=ModelSpec(features.FEATURES, features.with_features, labelled=features.outcomes),
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    small={"beds": 40},
    pseudonymised=("patient_id",),
    formats={FHIR.name: FHIR},
)
