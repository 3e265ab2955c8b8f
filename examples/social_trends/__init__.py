"""Posts about terms: terms that burst against their own season, terms that turn people angry, and campaigns of copied text.

    .venv/bin/hybrid examples social_trends

A domain made with `hybrid new`: batch learns each term's season, and rules compare every window's posts with it.
"""

from common.authoring import Baseline, Vertical
from examples.social_trends import baselines, detector, events, generator, settings, trends

VERTICAL = Vertical(
    name="social_trends",
    title="social trends",
    event_schema=events.EVENT_SCHEMA,
    contract=events.CONTRACT,
    event_id=events.EVENT_ID,
    entity=events.ENTITY,
    settings=settings.SocialTrendsSettings,
    queries=detector.QUERIES,
    population=settings.Population,
    generate_day=generator.generate_day,
    dirty_fields=generator.DIRTY_FIELDS,
    baselines={"term": Baseline("term", baselines.BASELINE)},
    learn=baselines.baselines,
    trends=trends.trends,
    charts=trends.CHARTS,
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    small={"terms": 30},
)
