"""Patient monitoring: vital signs judged in real time, patients and wards studied in batch. Not a medical device."""

from common.vertical import Baseline, ModelSpec, Vertical
from health_monitoring import detector, events, features, generator, plain, trends
from health_monitoring.formats import fhir, fhir_plain
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
    generate=generator.generate,
    generate_day=generator.generate_day,
    baselines={"patient": Baseline("patient_id", trends.PATIENT_BASELINE)},
    learn=trends.baselines,
    trends=trends.trends,
    plots=trends.plots,
    model=ModelSpec(features.FEATURES, features.with_features, labelled=features.outcomes),
    scenarios=plain.SCENARIOS,
    label_delay=trends.OUTCOME_DELAY,
    small={"beds": 40},
    pseudonymised=("patient_id",),
    also_accepts=(fhir.from_observation,),
    also_accepts_plain=(fhir_plain.from_observation,),
)
