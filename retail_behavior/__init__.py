"""A shop: bots, carts that are left and demand that jumps are recognised while visitors shop, and stock counts every sale.

    .venv/bin/hybrid run retail_behavior --for 75s

Batch forecasts demand, sets stock policies, mines recommendations, segments customers and trains the model of purchase intent.
"""

from common.authoring import Baseline, ModelSpec, Vertical
from retail_behavior import baselines, detector, events, features, generator, trends
from retail_behavior.settings import Population, RetailSettings

VERTICAL = Vertical(
    name="retail_behavior",
    title="retail behaviour and stock",
    event_schema=events.EVENT_SCHEMA,
    contract=events.CONTRACT,
    event_id=events.EVENT_ID,
    entity=events.ENTITY,
    settings=RetailSettings,
    queries=detector.QUERIES,
    population=Population,
    generate_day=generator.generate_day,
    dirty_fields=generator.DIRTY_FIELDS,
    baselines={
        "product": Baseline("product_id", baselines.PRODUCT_BASELINE),
        "visitor": Baseline("visitor_id", baselines.VISITOR_BASELINE),
    },
    learn=baselines.baselines,
    trends=trends.trends,
    charts=trends.CHARTS,
    model=ModelSpec(
        features.FEATURES,
        features.with_features,
        fit=features.fit_live,
        tolerance=features.TOLERANCE,
        so_far=features.sessions_so_far,
        labelled=features.purchase_labels,
    ),
    scenarios=detector.SCENARIOS,
    label_delay=events.LABEL_DELAY,
    small={"visitors": 1_200, "products": 40, "stores": 1},
)
