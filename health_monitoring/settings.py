"""Declares the settings of health_monitoring, with units."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.authoring import Span
from health_monitoring.rules.news2 import EMERGENCY, RED, URGENT


class Population(BaseModel):
    """How big the simulated hospital is and how it changes. Together with a seed it decides every byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beds: int = Field(120, ge=20, le=100_000, description="monitored beds, over all wards")
    occupancy: float = Field(0.85, gt=0, le=1, description="share of the beds in use on the opening day")
    cases: float = Field(1.0, ge=0, le=10, description="factor on the number of anomalies")
    opening: date = Field(date(2020, 1, 1), description="day from which growth and drift are counted")
    growth_per_year: float = Field(0.05, gt=-1, le=10, description="growth of the occupancy in a year, until beds run out")
    frailty_shift_per_year: float = Field(0.01, ge=-1, le=1, description="points by which the frail share moves a year")


class HealthSettings(BaseSettings):
    """Thresholds of the rules; each can be set as HEALTH_MONITORING_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="HEALTH_MONITORING_", frozen=True, extra="forbid", env_ignore_empty=True)

    red_points: float = Field(RED, gt=0, le=RED, description="NEWS2 points of a single parameter, below an urgent total")
    urgent_total: float = Field(URGENT, gt=0, le=20, description="NEWS2 total for an urgent response (risk medium)")
    emergency_total: float = Field(EMERGENCY, gt=0, le=20, description="NEWS2 total for an emergency response (risk high)")
    deterioration_rise: float = Field(4, gt=0, le=20, description="points by which an hour's NEWS2 lies above an earlier hour's")
    hypoxia_minutes: float = Field(25, gt=0, description="minutes of unbroken red saturation on the patient's own scale")
    tachycardia_minutes: float = Field(38, gt=0, description="minutes of unbroken tachycardia against the patient's own baseline")
    artefact_jump: float = Field(1.0, gt=0, description="a lone reading's jump there and back, as a multiple of what is credible")
    risk: float = Field(0.5, gt=0, le=1, description="probability of deterioration by the model in force")
    silence_minutes: float = Field(60, gt=0, description="minutes without an observation of a patient who is monitored")

    cooldown_hours: int = Field(6, ge=2, le=12, description="a rule alarms a patient once in a block of this long")
    hourly_readings: int = Field(3, ge=1, description="readings of an hour that reach the level that counts for it")
    tachycardia_bpm: float = Field(18, gt=0, description="beats per minute above the patient's mean, at least")
    tachycardia_deviations: float = Field(2.5, gt=0, description="standard deviations above the patient's mean, at least")
    min_baseline: int = Field(24, ge=1, description="observations in three days before a patient's own baseline counts")
    sampling_minutes: float = Field(15, gt=0, description="how often a device reports that does not say so")
    artefact_minutes: float = Field(46, gt=0, description="minutes from the reading before an artefact to the one after it")
    confirm_minutes: float = Field(31, gt=0, description="minutes within which an extreme value is confirmed by another one")
    watermark: Span = Field("2 hours", description="how late, in event time, an observation may be for a window")
