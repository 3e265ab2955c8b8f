"""Settings of telecom_anomaly, with units."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.authoring import Span
from telecom_anomaly.events import KPIS

ONLINE_THRESHOLD = 2.08  # of the online detector's score; README says how it was chosen


class Population(BaseModel):
    """How big the simulated network is and how it changes. Together with a seed it decides every byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sites: int = Field(40, ge=4, le=20_000, description="sites of three cells each")
    fault: float = Field(1.0, ge=0, le=5, description="factor on faults; 1: one of each kind (drift: 0.2) per 80 cells and day")
    opening: date = Field(date(2020, 1, 1), description="day from which growth is counted")
    growth_per_year: float = Field(0.35, gt=-1, le=10, description="growth of traffic in a year; sites differ around it")


class TelecomSettings(BaseSettings):
    """Thresholds of the rules; each can be set as TELECOM_ANOMALY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="TELECOM_ANOMALY_", frozen=True, extra="forbid", env_ignore_empty=True)

    kpi_outlier: float = Field(
        6.0, gt=0, description="robust deviations from the hour of week, summed over half an hour and divided by 2"
    )
    sleeping_cell: float = Field(
        6.0, gt=0, description="robust deviations of attempts below usual, summed over two hours and divided by 8"
    )
    interference: float = Field(
        4.5, gt=0, description="robust deviations of uplink loss beyond load, summed over an hour and divided by 4"
    )
    congestion: float = Field(5.0, gt=0, description="deviations of refused connections, summed over an hour and divided by 4")
    flapping: float = Field(6, gt=0, description="changes between full service and less, within three hours")
    slow_drift: float = Field(9.0, gt=0, lt=100, description="percent of throughput lost at the same load")
    site_alarm: float = Field(3.0, gt=0, description="reports in trouble per cell of the site within an hour; there are four")
    silent_cell: float = Field(
        3.0, gt=0, description="whole reporting periods since the last report; raised half a period and the watermark later"
    )
    online_anomaly: float = Field(ONLINE_THRESHOLD, gt=0, description="score of the online detector")
    online_grace: int = Field(192, ge=0, description="measurements of a cell before the online detector may raise an alert")
    online_metrics: str = Field("DRB_RlcSduDelayDl", description="measurements it scores, names with commas between")

    min_history: int = Field(3, ge=1, description="reports of an hour of the week before it counts as known; a week brings four")
    watermark: Span = Field(
        "2 hours", description="how late, in event time, a report may be; silent_cell waits as long beyond its periods"
    )
    prb_limit: float = Field(70.0, gt=0, le=100, description="busy-hour use of resource blocks at which a cell is full, %")

    @field_validator("online_metrics")
    @classmethod
    def _check_online_metrics(cls, names: str) -> str:
        unknown = sorted(set(names.split(",")) - set(KPIS))
        if unknown:
            raise ValueError(f"no measurement is called {', '.join(unknown)}; name some of {', '.join(KPIS)}")
        return names
