"""Declares the settings of finance_fraud, with units."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.authoring import Span, leave_no_gap, parse_span


class Population(BaseModel):
    """How big the simulated world is and how it changes. Together with a seed it decides every byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cards: int = Field(5_000, ge=20, le=1_000_000, description="cards in use")
    terminals: int = Field(1_000, ge=100, le=100_000, description="terminals and online merchants")
    transactions_per_card: float = Field(2.0, gt=0, le=100, description="honest transactions per card and day, on average")
    fraud: float = Field(1.0, ge=0, le=10, description="factor on the number of frauds; 1 is about 1.4% of transactions")
    opening: date = Field(date(2020, 1, 1), description="day from which growth and drift are counted")
    growth_per_year: float = Field(0.15, gt=-1, le=10, description="growth of the number of transactions in a year")
    inflation_per_year: float = Field(0.03, gt=-1, le=10, description="growth of amounts in a year")
    online_shift_per_year: float = Field(0.05, ge=-1, le=1, description="points by which the online share moves in a year")


class FraudSettings(BaseSettings):
    """Thresholds of the rules; each can be set as FINANCE_FRAUD_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="FINANCE_FRAUD_", frozen=True, extra="forbid", env_ignore_empty=True)

    model_score: float = Field(0.5, ge=0, le=1, description="probability of fraud")
    amount_zscore: float = Field(2.9, gt=0, description="standard deviations above the card's own 30 days, in logarithms")
    unseen_region_km: float = Field(1_500, gt=0, description="km beyond the farthest place from home in 30 days")
    terminal_risk: float = Field(0.3, gt=0, le=1, description="share of frauds at the terminal, known 7 days later")
    velocity: float = Field(6, gt=0, description="transactions of a card within burst_minutes, tiny ones aside")
    card_testing: float = Field(5, gt=0, description="transactions of less than tiny_amount within testing_minutes")
    spree: float = Field(3, gt=0, description="transactions of spree_ratio times the card's median within spree_minutes")
    travel_kmh: float = Field(900, gt=0, description="speed between two places; airliners cruise below it")
    terminal_burst: float = Field(3, gt=0, description="different cards beyond their habits at a terminal")

    min_history: int = Field(5, ge=0, description="transactions in 30 days before a card's habit counts")
    min_terminal_history: int = Field(5, ge=0, description="transactions in 7 days before a terminal's risk counts")
    burst_minutes: float = Field(20, gt=0, description="how long a burst lasts")
    testing_minutes: float = Field(8, gt=0, description="how long a burst of tiny amounts lasts")
    spree_minutes: float = Field(180, gt=0, description="how long a spree lasts")
    spree_ratio: float = Field(2.0, gt=1, description="times its 30-day median from which a card's amount is part of a spree")
    least_ratio: float = Field(4.5, gt=0, description="times its 30-day mean below which a card's amount is no outlier")
    usual_spread: float = Field(0.45, gt=0, description="standard deviation of the logarithms of a usual card's amounts")
    burst_zscore: float = Field(3, gt=0, description="what makes an amount unusual for terminal_burst")
    burst_region_km: float = Field(1_500, gt=0, description="what makes a place unusual for terminal_burst")
    tiny_amount: float = Field(5, gt=0, description="below it an amount may be a test")
    min_travel_km: float = Field(200, gt=0, description="places nearer than this are one place")
    card_window: Span = Field("5 hours", description="event-time window of a card's transactions")
    card_slide: Span = Field("4 hours", description="a new window begins this often")
    terminal_window: Span = Field("2 days", description="event-time window of a terminal's transactions")
    terminal_slide: Span = Field("1 day", description="a new window begins this often")
    watermark: Span = Field("1 day", description="how late, in event time, a transaction may be for a window")

    @model_validator(mode="after")
    def _check_windows(self) -> "FraudSettings":
        leave_no_gap(self.terminal_window, self.terminal_slide)
        overlap = (parse_span(self.card_window) - parse_span(self.card_slide)).total_seconds() / 60
        longest = max(self.burst_minutes, self.testing_minutes)
        if longest > overlap:
            windows = f"windows of {self.card_window} every {self.card_slide} overlap by {overlap:g}"
            raise ValueError(f"a burst of {longest:g} minutes would be cut, as {windows}: make card_window longer")
        return self
