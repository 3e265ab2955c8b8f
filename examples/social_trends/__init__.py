"""Terms that burst against their own season, terms that turn people angry, and campaigns of copied text: a domain of its own."""

from common.vertical import Baseline, Vertical
from examples.social_trends import detector, events, generator, settings, trends

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
    generate=generator.generate,
    generate_day=generator.generate_day,
    baselines={"term": Baseline("term", trends.BASELINE)},
    learn=trends.baselines,
    trends=trends.trends,
    plots=trends.plots,
    scenarios=detector.SCENARIOS,
    label_delay=generator.LABEL_DELAY,
    small={"terms": 30},
)
