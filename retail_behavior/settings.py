"""Declares the settings of retail_behavior, with units."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.authoring import Span, leave_no_gap

MAX_VIEWS_PER_WINDOW = 300  # of a visitor that the rule `bot` reads: whoever views more is recognised by then
STOCK_SLIDE = "1 day"  # batch counts stock at midnight, so that a window has to begin there


class Population(BaseModel):
    """How big the simulated shop is and how it changes. Together with a seed it decides every byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: int = Field(150, ge=20, le=20_000, description="products on sale")
    stores: int = Field(2, ge=1, le=50, description="warehouses that hold stock of every product")
    visitors: int = Field(7_000, ge=100, le=2_000_000, description="people who visit now and then")
    visits_per_visitor: float = Field(0.28, gt=0, le=0.8, description="sessions per visitor and day, on average")
    anomalies: float = Field(1.0, ge=0, le=5, description="factor on the number of bots, demand spikes and failing suppliers")
    opening: date = Field(date(2020, 1, 1), description="day from which growth is counted")
    growth_per_year: float = Field(0.12, ge=0, le=5, description="growth of the number of sessions in a year")
    inflation_per_year: float = Field(0.03, gt=-1, le=5, description="growth of prices in a year")


class RetailSettings(BaseSettings):
    """Thresholds of the rules, and the stock policy of batch; each can be set as RETAIL_BEHAVIOR_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="RETAIL_BEHAVIOR_", frozen=True, extra="forbid", env_ignore_empty=True)

    cart_value: float = Field(60.0, gt=0, description="worth of an abandoned cart (currency units)")
    bot_streak: float = Field(16, gt=0, le=MAX_VIEWS_PER_WINDOW, description="views in a row at an even pace")
    demand_zscore: float = Field(3.75, gt=0, description="deviations of a product's orders above its forecast")
    reorder_ratio: float = Field(1.0, gt=0, description="reorder point over live stock position")
    stock_out_risk: float = Field(0.3, gt=0, le=1, description="probability that stock runs out within risk_hours")

    even_pace: float = Field(1.5, gt=1, description="two successive gaps are even when neither is more than this times the other")
    longest_gap_seconds: float = Field(120, gt=0, description="two views further apart than this are no streak")
    min_orders: int = Field(6, ge=1, description="orders in a window before demand can be a spike")
    risk_hours: int = Field(24, ge=1, le=168, description="hours ahead that stock_out_risk looks")
    session_gap: Span = Field("30 minutes", description="silence that ends a session, in event time")
    bot_window: Span = Field("2 hours", description="event-time window of a visitor's views")
    bot_slide: Span = Field("1 hour", description="a new such window begins this often")
    demand_hours: int = Field(6, ge=1, le=48, description="hours of a product's demand window")
    demand_slide: Span = Field("2 hours", description="a new such window begins this often")
    stock_window: Span = Field("7 days", description="how long sales are counted from a baseline's stock: batch runs oftener")
    intent_window: Span = Field("6 hours", description="tumbling window within which a session is one")
    watermark: Span = Field("2 hours", description="how late, in event time, an event may be for a window")

    lead_days: int = Field(1, ge=1, le=60, description="days from an order to its goods")
    cycle_service: float = Field(0.95, gt=0, lt=1, description="share of replenishment cycles to be without a stock-out, nominal")
    order_cost: float = Field(8.0, gt=0, description="cost of an order, whatever its size (currency units)")
    holding_cost: float = Field(0.25, gt=0, description="cost of holding a unit for a year, as a share of its price")

    @model_validator(mode="after")
    def _check_windows(self) -> "RetailSettings":
        leave_no_gap(self.bot_window, self.bot_slide)
        leave_no_gap(f"{self.demand_hours} hours", self.demand_slide)
        leave_no_gap(self.stock_window, STOCK_SLIDE)
        return self
