"""Draws the simulated hospital: wards and beds, who lies in a bed on a day, and what is normal for each patient.

A bed is used by one patient after another, each for the bed's own number of days. Everything about a patient is a hash of
(seed, bed, number of the stay), so that any day can be made without the days before it.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS, growth, shifted_share
from health_monitoring.settings import Population

# name, share of the beds, minutes between two observation sets.
WARDS = (
    ("general medicine", 0.34, 15), ("surgery", 0.24, 15), ("cardiology", 0.16, 15), ("respiratory", 0.14, 10),
    ("high dependency", 0.12, 10),
)  # fmt: skip
SHORTEST_STAY, LONGEST_STAY = 8, 18  # days

ORDINARY, ATHLETIC, FIBRILLATING, COPD, FRAIL = range(5)
SHARES = {ATHLETIC: 0.12, FIBRILLATING: 0.10, COPD: 0.12}
FRAIL_SHARE = 0.10  # on the opening day

# What is normal by kind: mean and spread over patients; frail and COPD patients score on NEWS2 every day.
NORMAL = {
    "heart_rate_bpm": ((74, 6), (55, 4), (103, 6), (84, 6), (97, 6)),
    "respiratory_rate_per_min": ((15.5, 1.2), (14.5, 1), (16, 1.2), (19, 1.2), (21.5, 1.2)),
    "spo2_percent": ((97.2, 0.6), (97.8, 0.5), (96.8, 0.6), (90, 0.5), (95.2, 0.6)),
    "systolic_mmhg": ((127, 9), (122, 7), (129, 9), (133, 9), (107, 7)),
    "diastolic_mmhg": ((75, 6), (72, 5), (77, 6), (77, 6), (62, 5)),
    "temperature_c": ((36.8, 0.15), (36.6, 0.15), (36.8, 0.15), (36.8, 0.15), (36.9, 0.25)),
}
OXYGEN_SHARE = (0.03, 0.0, 0.05, 0.6, 0.5)  # of patients who breathe it, by kind
APNOEA_SHARE = 0.12


@dataclass(frozen=True)
class Stays:
    """The stays of patients in a bed on some part of one day, as arrays of one length; seconds are of that day (UTC)."""

    bed: NDArray[np.int64]
    number: NDArray[np.int64]  # of the stay in its bed
    day: NDArray[np.int64]  # days since admission
    last_day: NDArray[np.bool_]  # goes home on this day
    start: NDArray[np.float64]  # observed from this second
    end: NDArray[np.float64]  # until this one
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
    """The patients who are monitored on `day`. Beds fill as the hospital grows; a stay that began goes on."""
    bed = np.arange(population.beds)
    length = SHORTEST_STAY + (hashed_uniform(seed, "length", bed) * (LONGEST_STAY - SHORTEST_STAY + 1)).astype(np.int64)
    elapsed = day.toordinal() + (hashed_uniform(seed, "phase", bed) * length).astype(np.int64)
    number, age = elapsed // length, elapsed % length
    shares = _shares_at_admission(day, age, population)
    is_used = hashed_uniform(seed, "used", bed, number) < shares["occupancy"]
    bed, number, age, length = bed[is_used], number[is_used], age[is_used], length[is_used]
    is_last_day = age == length - 1
    kind = _patient_kinds(hashed_uniform(seed, "kind", bed, number), shares["frail"][is_used])
    return Stays(
        bed, number, age, is_last_day,
        start=np.where(age == 0, 3_600 * (13 + 7 * hashed_uniform(seed, "admission", bed, number)), 0.0),
        end=np.where(is_last_day, 3_600 * (9 + 3 * hashed_uniform(seed, "discharge", bed, number)), DAY_SECONDS),
        ward=np.searchsorted(np.cumsum([share for _, share, _ in WARDS])[:-1], hashed_uniform(seed, "ward", bed), side="right"),
        kind=kind,
        on_oxygen=hashed_uniform(seed, "oxygen", bed, number) < np.array(OXYGEN_SHARE)[kind],
        has_apnoea=(hashed_uniform(seed, "apnoea", bed, number) < APNOEA_SHARE) & (kind != COPD),
    )  # fmt: skip


def normal_of(seed: int, stays: Stays, field: str) -> NDArray[np.float64]:
    """The value around which each patient's `field` lies at rest."""
    mean, spread = np.array(NORMAL[field], float)[stays.kind].T
    return mean + spread * hashed_normal(seed, f"normal {field}", stays.bed, stays.number)


def hashed_uniform(seed: int, purpose: str, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each row of `keys` that depends on nothing else (the splitmix64 hash)."""
    state = np.full(np.broadcast_shapes(*(key.shape for key in keys)), (seed << 32) ^ crc32(purpose.encode()), np.uint64)
    for key in keys:
        state = _splitmix64(state ^ _splitmix64(key.astype(np.uint64)))
    return (state >> np.uint64(11)) / float(1 << 53)


def hashed_normal(seed: int, purpose: str, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """A standard normal number for each row of `keys` (Box and Muller), by the same hash."""
    radius = np.sqrt(-2 * np.log(1 - hashed_uniform(seed, f"{purpose} radius", *keys)))
    return radius * np.cos(2 * np.pi * hashed_uniform(seed, f"{purpose} angle", *keys))


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _shares_at_admission(day: date, age: NDArray[np.int64], population: Population) -> dict[str, NDArray[np.float64]]:
    """{"occupancy", "frail"}: the shares on the day on which each stay began, `age` days before `day`."""
    admissions = [day - timedelta(days=back) for back in range(LONGEST_STAY)]
    opening, growth_rate, shift = population.opening, population.growth_per_year, population.frailty_shift_per_year
    occupancy = [population.occupancy * growth(admission, opening, growth_rate) for admission in admissions]
    frail = [shifted_share(FRAIL_SHARE, admission, opening, shift) for admission in admissions]
    return {"occupancy": np.array(occupancy)[age], "frail": np.array(frail)[age]}


def _patient_kinds(quantiles: NDArray[np.float64], frail_shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Assigns each patient a kind from its quantile in [0, 1). frail_shares: of frail patients, at admission."""
    kinds = np.full(len(quantiles), ORDINARY)
    share_so_far = frail_shares.copy()
    kinds[quantiles < share_so_far] = FRAIL
    for kind, share in SHARES.items():
        kinds[(quantiles >= share_so_far) & (quantiles < share_so_far + share)] = kind
        share_so_far = share_so_far + share
    return kinds
