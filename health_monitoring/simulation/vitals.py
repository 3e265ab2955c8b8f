"""Simulates the vital signs of a day without anomalies: each patient's around their own normal, by time of day and over hours."""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS, object_array, random_for
from health_monitoring.simulation.population import Stays, hashed_normal, hashed_uniform, normal_of

LOST_SHARE = 0.005  # of observation sets that never leave the device
JITTER_SECONDS = 20.0  # by which a device reports early or late
HOUR = 3_600.0

# Per field: standard deviation of a reading, of the slow wander over hours; swing over the day and the hour of its peak;
# change per day of a stay (standard deviation over patients); smallest step that is reported.
SHAPES = {
    "heart_rate_bpm": (2.5, 2.5, 4.0, 16, 0.4, 0),
    "respiratory_rate_per_min": (0.9, 0.6, 0.5, 16, 0.05, 0),
    "spo2_percent": (0.6, 0.3, 0.2, 14, 0.0, 0),
    "systolic_mmhg": (4.0, 3.5, 5.0, 15, 1.0, 0),
    "diastolic_mmhg": (3.0, 2.5, 3.0, 15, 0.6, 0),
    "temperature_c": (0.08, 0.1, 0.25, 18, 0.0, 1),
}
FIELDS = tuple(SHAPES)
MISSING_SHARES = {"temperature_c": 0.03, "systolic_mmhg": 0.02, "consciousness": 0.02}
BATTERY_HOURS = (30.0, 48.0)  # shortest and longest that a battery lasts


@dataclass(frozen=True)
class Readings:
    """Observation sets of a day, as arrays of one length; values holds an array for each of FIELDS.

    stay: index into the day's stays; scenario and case are "" for what is ordinary.
    """

    stay: NDArray[np.int64]
    second: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]
    consciousness: NDArray[np.object_]
    battery: NDArray[np.float64]
    scenario: NDArray[np.object_]
    case: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.stay)

    def take(self, rows: NDArray) -> "Readings":
        """Those of `rows`: indices, or a mask."""
        values = {field: value[rows] for field, value in self.values.items()}
        other_arrays = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "values"}
        return replace(self, values=values, **other_arrays)


def ordinary_readings(seed: int, day: date, stays: Stays) -> Readings:
    """What the devices would report of everybody if nothing went wrong, by stay and time."""
    stay, second = _reading_times(seed, day, stays)
    values = {field: _field_values(seed, day, stays, field, stay, second) for field in FIELDS}
    size = len(stay)
    return Readings(
        stay, second, values, consciousness=object_array(["A"] * size), battery=_battery(seed, day, stays, stay, second),
        scenario=object_array([""] * size), case=object_array([""] * size),
    )  # fmt: skip


def reported_readings(seed: int, day: date, readings: Readings) -> Readings:
    """The readings rounded as devices report them, within what they can show, and with gaps: NaN, or None for consciousness."""
    rng = random_for(seed, day, "gaps")
    values = {field: np.maximum(np.round(value, SHAPES[field][-1]), 0.0) for field, value in readings.values.items()}
    values["spo2_percent"] = np.minimum(values["spo2_percent"], 100.0)
    gaps = {field: rng.random(len(readings)) < share for field, share in MISSING_SHARES.items()}
    values["temperature_c"][gaps["temperature_c"]] = np.nan
    for field in ("systolic_mmhg", "diastolic_mmhg"):  # one cuff
        values[field][gaps["systolic_mmhg"]] = np.nan
    consciousness = readings.consciousness.copy()
    consciousness[gaps["consciousness"]] = None
    return replace(readings, values=values, consciousness=consciousness, battery=np.round(readings.battery))


def _reading_times(seed: int, day: date, stays: Stays) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(stay, second) of each reading of the day."""
    rng = random_for(seed, day, "times")
    counts = (DAY_SECONDS / stays.interval).astype(np.int64)
    stay = np.repeat(np.arange(len(stays)), counts)
    number = np.arange(len(stay)) - np.repeat(np.cumsum(counts) - counts, counts)
    interval = stays.interval[stay]
    second = (number + 0.05 + 0.9 * hashed_uniform(seed, "offset", stays.bed)[stay]) * interval
    second = np.clip(second + rng.uniform(-JITTER_SECONDS, JITTER_SECONDS, len(stay)), 0, DAY_SECONDS - 0.001)
    is_sent = (second >= stays.start[stay]) & (second < stays.end[stay]) & (rng.random(len(stay)) >= LOST_SHARE)
    return stay[is_sent], second[is_sent]


def _field_values(
    seed: int, day: date, stays: Stays, field: str, stay: NDArray[np.int64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The values of one field at each reading: normal, slope over the stay, swing of the day, slow waves and noise."""
    noise, wander, swing, peak_hour, per_day, _ = SHAPES[field]
    rng = random_for(seed, day, f"noise {field}")
    elapsed = stays.day[stay] + second / DAY_SECONDS
    slope = per_day * hashed_normal(seed, f"slope {field}", stays.bed, stays.number)
    value = normal_of(seed, stays, field)[stay] + slope[stay] * elapsed
    value += swing * np.cos(2 * np.pi * (second / HOUR - peak_hour) / 24)
    for wave, (shortest, longest) in enumerate(((5.0, 9.0), (9.0, 20.0))):
        keys = stays.bed, stays.number
        period = shortest + (longest - shortest) * hashed_uniform(seed, f"period {wave} {field}", *keys)
        phase = hashed_uniform(seed, f"phase {wave} {field}", *keys)
        value += wander * np.sin(2 * np.pi * (24 * elapsed / period[stay] + phase[stay]))
    return value + noise * rng.standard_normal(len(stay))


def _battery(seed: int, day: date, stays: Stays, stay: NDArray[np.int64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percent at each reading: a battery runs down to about 5 and is then changed, on each bed's own rhythm."""
    shortest, longest = BATTERY_HOURS
    hours = shortest + (longest - shortest) * hashed_uniform(seed, "battery", stays.bed)
    elapsed = (24 * day.toordinal() + second / HOUR) / hours[stay] + hashed_uniform(seed, "battery phase", stays.bed)[stay]
    return 100 - 95 * (elapsed % 1)
