"""The simulated hospital: wards and beds, who lies in a bed on a day, and what is normal for each patient.

A bed is used by one patient after another, each for the bed's own number of days. Everything about a patient is a hash of
(seed, bed, number of the stay), so that any day can be made without the days before it.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from common.simulation.drift import growth, shifted_share
from common.simulation.seasonality import DAY_SECONDS
from health_monitoring.settings import Population

# name, share of the beds, minutes between two observation sets.
WARDS = (
    ("general medicine", 0.34, 15), ("surgery", 0.24, 15), ("cardiology", 0.16, 15), ("respiratory", 0.14, 10),
    ("high dependency", 0.12, 10),
)  # fmt: skip
SHORTEST_STAY, LONGEST_STAY = 8, 18     # days

ORDINARY, ATHLETIC, FIBRILLATING, COPD, FRAIL = range(5)
SHARES = {ATHLETIC: 0.12, FIBRILLATING: 0.10, COPD: 0.12}
FRAIL_SHARE = 0.10

# What is normal by kind: mean and spread over patients; frail and COPD patients score on NEWS2 every day.
NORMAL = {
    "heart_rate_bpm": ((74, 6), (55, 4), (103, 6), (84, 6), (97, 6)),
    "respiratory_rate_per_min": ((15.5, 1.2), (14.5, 1), (16, 1.2), (19, 1.2), (21.5, 1.2)),
    "spo2_percent": ((97.2, 0.6), (97.8, 0.5), (96.8, 0.6), (90, 0.5), (95.2, 0.6)),
    "systolic_mmhg": ((127, 9), (122, 7), (129, 9), (133, 9), (107, 7)),
    "diastolic_mmhg": ((75, 6), (72, 5), (77, 6), (77, 6), (62, 5)),
    "temperature_c": ((36.8, 0.15), (36.6, 0.15), (36.8, 0.15), (36.8, 0.15), (36.9, 0.25)),
}
OXYGEN_SHARE = (0.03, 0.0, 0.05, 0.6, 0.5)
APNOEA_SHARE = 0.12


@dataclass(frozen=True)
class Stays:
    """Those in a bed on some part of one day, as arrays of one length; seconds are of that day (UTC)."""

    bed: NDArray[np.int64]
    number: NDArray[np.int64]           # of the stay in its bed
    day: NDArray[np.int64]              # days since admission
    last_day: NDArray[np.bool_]         # goes home on this day
    start: NDArray[np.float64]          # observed from this second
    end: NDArray[np.float64]            # until this one
    ward: NDArray[np.int64]
    kind: NDArray[np.int64]
    on_oxygen: NDArray[np.bool_]
    has_apnoea: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.bed)

    @property
    def interval(self) -> NDArray[np.float64]:
        """Seconds between two observation sets."""
        return np.array([60.0 * minutes for *_, minutes in WARDS])[self.ward]

    @property
    def patient_id(self) -> list[str]:
        return [f"P{bed:05d}-{number}" for bed, number in zip(self.bed, self.number, strict=True)]


def stays_on(seed: int, day: date, population: Population) -> Stays:
    """Who is monitored on `day`. Beds fill as the hospital grows; a stay that began goes on."""
    bed = np.arange(population.beds)
    length = SHORTEST_STAY + (drawn(seed, "length", bed) * (LONGEST_STAY - SHORTEST_STAY + 1)).astype(np.int64)
    elapsed = day.toordinal() + (drawn(seed, "phase", bed) * length).astype(np.int64)
    number, age = elapsed // length, elapsed % length
    filled = _shares_at_admission(day, age, population)
    used = drawn(seed, "used", bed, number) < filled["occupancy"]
    bed, number, age, length = bed[used], number[used], age[used], length[used]
    last = age == length - 1
    kind = _kind(drawn(seed, "kind", bed, number), filled["frail"][used])
    return Stays(
        bed, number, age, last,
        start=np.where(age == 0, 3_600 * (13 + 7 * drawn(seed, "admission", bed, number)), 0.0),
        end=np.where(last, 3_600 * (9 + 3 * drawn(seed, "discharge", bed, number)), DAY_SECONDS),
        ward=np.searchsorted(np.cumsum([share for _, share, _ in WARDS])[:-1], drawn(seed, "ward", bed), side="right"),
        kind=kind,
        on_oxygen=drawn(seed, "oxygen", bed, number) < np.array(OXYGEN_SHARE)[kind],
        has_apnoea=(drawn(seed, "apnoea", bed, number) < APNOEA_SHARE) & (kind != COPD),
    )  # fmt: skip


def normal_of(seed: int, stays: Stays, field: str) -> NDArray[np.float64]:
    """What each patient's `field` is around, at rest."""
    mean, spread = np.array(NORMAL[field], float)[stays.kind].T
    return mean + spread * drawn_normal(seed, f"normal {field}", stays.bed, stays.number)


def drawn(seed: int, purpose: str, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each row of `keys` that depends on nothing else (the splitmix64 hash)."""
    state = np.full(np.broadcast_shapes(*(key.shape for key in keys)), (seed << 32) ^ crc32(purpose.encode()), np.uint64)
    for key in keys:
        state = _mixed(state ^ _mixed(key.astype(np.uint64)))
    return (state >> np.uint64(11)) / float(1 << 53)


def drawn_normal(seed: int, purpose: str, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same, standard normal (Box and Muller)."""
    radius = np.sqrt(-2 * np.log(1 - drawn(seed, f"{purpose} radius", *keys)))
    return radius * np.cos(2 * np.pi * drawn(seed, f"{purpose} angle", *keys))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _shares_at_admission(day: date, age: NDArray[np.int64], population: Population) -> dict[str, NDArray[np.float64]]:
    days = [day - timedelta(days=back) for back in range(LONGEST_STAY)]
    occupancy = [population.occupancy * growth(then, population.opening, population.growth_per_year) for then in days]
    frail = [shifted_share(FRAIL_SHARE, then, population.opening, population.frailty_shift_per_year) for then in days]
    return {"occupancy": np.array(occupancy)[age], "frail": np.array(frail)[age]}


def _kind(quantile: NDArray[np.float64], frail: NDArray[np.float64]) -> NDArray[np.int64]:
    kind = np.full(len(quantile), ORDINARY)
    edge = frail.copy()
    kind[quantile < edge] = FRAIL
    for name, share in SHARES.items():
        kind[(quantile >= edge) & (quantile < edge + share)] = name
        edge = edge + share
    return kind
