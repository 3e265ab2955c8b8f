"""Settings of social_trends, with units."""

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.authoring import Span, leave_no_gap


class Population(BaseModel):
    """How big the simulated world is. Together with a seed it decides every byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: int = Field(300, ge=20, le=20_000, description="terms that are talked about")
    posts_per_term: float = Field(40.0, gt=0, le=10_000, description="posts of a term a day, on average")
    authors: int = Field(20_000, ge=1_000, le=10_000_000, description="people who post")
    anomalies: float = Field(1.0, ge=0, le=10, description="factor on the number of anomalies")


class SocialTrendsSettings(BaseSettings):
    """Thresholds of the rules; each can be set as SOCIAL_TRENDS_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="SOCIAL_TRENDS_", frozen=True, extra="forbid", env_ignore_empty=True)

    burst: float = Field(8.0, gt=0, description="standard deviations of posts in a window above the term's own season")
    outrage: float = Field(6.0, gt=0, description="standard deviations of negative posts in a window above the term's own share")
    copied_text: float = Field(8, gt=1, description="authors who post one and the same text within a window")

    negative: float = Field(-0.4, ge=-1, lt=0, description="sentiment, -1 to 1, at or below which a post is negative")
    least_text: int = Field(20, ge=1, description="characters of a text below which copies are chance")
    min_days: int = Field(7, ge=1, description="days that a term has been posted about before its season counts")
    window: Span = Field("1 hour", description="event-time window of a term's posts")
    slide: Span = Field("30 minutes", description="a new window begins this often")
    watermark: Span = Field("2 hours", description="how late, in event time, a post may be for a window")

    @model_validator(mode="after")
    def _check_windows(self) -> "SocialTrendsSettings":
        leave_no_gap(self.window, self.slide)
        return self
