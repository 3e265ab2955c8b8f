"""Settings of predictive_maintenance, with units."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Population(BaseModel):
    """How big the simulated world is. Together with a seed it decides every byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: int = Field(300, ge=20, le=20_000, description="machines that send readings")
    readings_per_day: int = Field(12, ge=4, le=288, description="of each machine, evenly spread")
    life_days: float = Field(40.0, ge=20, le=1_000, description="days from an overhaul to the next failure, on average")
    opening: date = Field(date(2019, 6, 1), description="day from which lives are counted")


class PredictiveMaintenanceSettings(BaseSettings):
    """Thresholds of the rules; each can be set as PREDICTIVE_MAINTENANCE_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="PREDICTIVE_MAINTENANCE_", frozen=True, extra="forbid", env_ignore_empty=True)

    work_order: float = Field(0.5, ge=0, le=1, description="probability that the machine fails within five days")
    worn: float = Field(1.0, gt=0, description="wear, by what is furthest from the machine's own healthy values: 1 is worn out")
    vibration_mm_s: float = Field(7.1, gt=0, description="vibration that damages: the border of zone D, ISO 10816-3")

    worn_vibration: float = Field(1.9, gt=1, description="times its healthy vibration at which a machine is worn out")
    worn_temperature: float = Field(14.0, gt=0, description="degrees above its healthy temperature at which it is")
    worn_pressure: float = Field(0.12, gt=0, lt=1, description="share of its healthy pressure that it has lost by then")
    min_history: int = Field(60, ge=2, description="readings before a machine's healthy values count")
