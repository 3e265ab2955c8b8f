"""A shop: visitors' behaviour judged live, stock that adjusts with every sale, demand and customers studied in batch."""

from common.vertical import Baseline, ModelSpec, Scenario, Vertical
from retail_behavior import baselines, detector, events, features, generator, trends
from retail_behavior.settings import Population, RetailSettings
from retail_behavior.simulation import scenarios

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
    generate=generator.generate,
    generate_day=generator.generate_day,
    baselines={
        "product": Baseline("product_id", baselines.PRODUCT_BASELINE),
        "visitor": Baseline("visitor_id", baselines.VISITOR_BASELINE),
    },
    learn=baselines.baselines,
    trends=trends.trends,
    plots=trends.plots,
    model=ModelSpec(
        features.FEATURES, features.with_features, fit=features.fit_live, tolerance=features.TOLERANCE,
        so_far=features.so_far, labelled=features.labelled),
    scenarios=(
        Scenario(scenarios.BOT, ("bot",), scenarios.viewed_price),
        Scenario(scenarios.ABANDONED, ("cart_abandoned",), scenarios.line_value),
        Scenario(scenarios.SPIKE, ("demand_spike",), scenarios.order_size),
        Scenario(scenarios.RUNNING_OUT, ("reorder_point", "stock_out_risk"), scenarios.order_size),
    ),
    label_delay=generator.LABEL_DELAY,
    small={"visitors": 1_200, "products": 40, "stores": 1},
)
