"""The faults of the simulated network, and harmless events that look like one: each changes what cells measure on a day.

A scenario is a kind of fault, a case one occurrence of it. A fault begins at any quarter of an hour and may run into the next
day. A drift is labelled from the day on which it has taken DRIFT_SHOWS of the throughput: before that, nobody could call it one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from common.authoring import case_count, episodes, random_for
from telecom_anomaly.simulation.population import CELLS_PER_SITE, PERIODS, REGIONS, World

FAULTS_PER_CELL = 1 / 80  # of each kind, a day
DRIFTS_PER_CELL = 1 / 400
DRIFT_DAYS = 28
DRIFT_SHOWS = 0.15
PLANNED_WORKS = 1 / 60  # per site and day
RESTARTS = 0.01  # per cell and day, as are the next
SIGNALLING_STORMS = 0.06
EMPTY_REGIONS = 0.02  # holidays per region and day
MATCHES = 0.25  # share of days with one

FACTORS = ("traffic", "signalling", "speed_down", "speed_up", "delay", "loss_up", "drops")


@dataclass
class Effects:
    """What all that happens on a day does to its measurements, (cells, PERIODS) each.

    FACTORS multiply what would have been measured; the others are added, or say of a report what it is.
    """

    traffic: NDArray[np.float64]
    signalling: NDArray[np.float64]  # attempts per user
    speed_down: NDArray[np.float64]
    speed_up: NDArray[np.float64]
    delay: NDArray[np.float64]
    loss_up: NDArray[np.float64]
    drops: NDArray[np.float64]
    refused: NDArray[np.float64]  # share of attempts, on top of the usual
    unavailable: NDArray[np.float64]  # seconds of the period
    suspect: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    scenario: NDArray[np.object_]  # "" where there is none
    case: NDArray[np.object_]

    @classmethod
    def none(cls, cells: int) -> "Effects":
        """Those of a day on which nothing happens."""
        shape = (cells, PERIODS)
        factors = {name: np.ones(shape) for name in FACTORS}
        return cls(
            refused=np.zeros(shape),
            unavailable=np.zeros(shape),
            suspect=np.zeros(shape, bool),
            missing=np.zeros(shape, bool),
            scenario=np.full(shape, "", object),
            case=np.full(shape, "", object),
            **factors,
        )


@dataclass(frozen=True)
class Case:
    """One fault on one day: its cells, and those of its periods, [begin, end), that lie within the day."""

    rng: np.random.Generator  # the same on both days that a fault touches
    cells: NDArray[np.int64]
    begin: int
    end: int
    is_first_day: bool

    @property
    def index(self) -> tuple[NDArray, slice]:
        """Its place in arrays of (cells, PERIODS)."""
        return self.cells, slice(self.begin, self.end)


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault; labels name it as the scenario.

    duration: the fewest periods that it lasts, and one more than the most. apply(effects, case) adds what it does.
    begins: the first period of the day in which it may begin, and the one after the last.
    whole_site: whether it affects all cells of the site, or one.
    """

    name: str
    duration: tuple[int, int]
    apply: Callable[[Effects, Case], None]
    begins: tuple[int, int] = (1, PERIODS)
    whole_site: bool = False


def sleeping_cell(effects: Effects, case: Case) -> None:
    """Full service, no alarm, and hardly a user gets in."""
    effects.traffic[case.index] *= case.rng.uniform(0.03, 0.15)


def site_backhaul(effects: Effects, case: Case) -> None:
    """The link of the site is degraded: all its cells are slow and late, whatever their load."""
    effects.delay[case.index] *= case.rng.uniform(2.5, 5)
    effects.drops[case.index] *= case.rng.uniform(2, 5)
    effects.speed_down[case.index] *= case.rng.uniform(0.35, 0.6)


def interference(effects: Effects, case: Case) -> None:
    """A foreign transmitter in the uplink: packets of the cell are lost, its load is as ever."""
    effects.loss_up[case.index] *= case.rng.uniform(4, 9)
    effects.speed_up[case.index] *= case.rng.uniform(0.3, 0.6)


def flapping(effects: Effects, case: Case) -> None:
    """Up and down, up and down: unavailable for some minutes of every other period."""
    seconds = case.rng.uniform(120, 600)
    effects.unavailable[case.cells, case.begin + (case.begin % 2) : case.end : 2] = seconds


def congestion(effects: Effects, case: Case) -> None:
    """More users than the cell can take: connections are refused."""
    effects.traffic[case.index] *= case.rng.uniform(1.6, 2.6)
    effects.refused[case.index] += case.rng.uniform(0.07, 0.16)


def degraded_cell(effects: Effects, case: Case) -> None:
    """One cell's delay, drops or throughput is off, nothing else of it: drops by twice the factor of the other two."""
    measurement, factor = case.rng.integers(3), case.rng.uniform(2.5, 4.5)
    effect = (effects.delay, effects.drops, effects.speed_down)[measurement]
    effect[case.index] *= (factor, factor * 2, 1 / factor)[measurement]


def silent_cell(effects: Effects, case: Case) -> None:
    """No report at all; the label names the last one before."""
    effects.missing[case.index] = True


FAULT_KINDS = (
    FaultKind("sleeping_cell", (16, 48), sleeping_cell),
    FaultKind("site_backhaul", (8, 32), site_backhaul, whole_site=True),
    FaultKind("interference", (8, 32), interference),
    FaultKind("flapping", (12, 28), flapping),
    FaultKind("congestion", (6, 20), congestion, begins=(36, 76)),
    FaultKind("degraded_cell", (6, 20), degraded_cell),
    FaultKind("silent_cell", (8, 40), silent_cell),
)
DRIFT = "slow_drift"


def effects_of(world: World, seed: int, day: date, factor: float) -> Effects:
    """All that happens on `day`: faults with their labels, and harmless events without.

    factor: on the number of faults.
    """
    effects = Effects.none(len(world.cell_id))
    _apply_harmless_events(effects, world, seed, day)
    for start in (day - timedelta(days=1), day):
        _apply_faults(effects, world, seed, start, day, factor)
    _apply_drifts(effects, world, seed, day, factor)
    return effects


def _apply_faults(effects: Effects, world: World, seed: int, start: date, day: date, factor: float) -> None:
    """Applies the faults that began on `start`, as far as they lie within `day`. No two that begin on a day share a site."""
    cells = len(world.cell_id)
    rng = random_for(seed, start, "faults")
    sites = iter(rng.permutation(cells // CELLS_PER_SITE))
    shift = (day - start).days * PERIODS
    for kind in FAULT_KINDS:
        for number in range(case_count(seed, start, kind.name, FAULTS_PER_CELL * cells * factor)):
            begin, length = int(rng.integers(*kind.begins)), int(rng.integers(*kind.duration))
            single_cell = rng.integers(CELLS_PER_SITE)
            site = next(sites, None)
            if site is None:
                return
            cells_of_site = np.arange(CELLS_PER_SITE) if kind.whole_site else np.array([single_cell])
            first, end = max(begin - shift, 0), min(begin + length - shift, PERIODS)
            if first < end:
                case_rng = random_for(seed, start, f"{kind.name} {number}")
                case = Case(case_rng, site * CELLS_PER_SITE + cells_of_site, first, end, shift == 0)
                kind.apply(effects, case)
                _label(effects, world, kind, case, start)


def _label(effects: Effects, world: World, kind: FaultKind, case: Case, start: date) -> None:
    """Labels the reports of a fault; of a silent cell, the last report before."""
    entity = (world.site_id if kind.whole_site else world.cell_id)[case.cells[0]]
    if kind.name != "silent_cell":
        effects.scenario[case.index], effects.case[case.index] = kind.name, f"{kind.name}:{entity}:{start}"
    elif case.is_first_day:
        cell, last_period = case.cells[0], case.begin - 1
        effects.missing[cell, last_period] = False
        effects.scenario[cell, last_period], effects.case[cell, last_period] = kind.name, f"{kind.name}:{entity}:{start}"


def _apply_drifts(effects: Effects, world: World, seed: int, day: date, factor: float) -> None:
    """An antenna or feeder ages: throughput falls by 1.2 to 2 percent a day for four weeks, then it is repaired."""
    cells = len(world.cell_id)
    drifting_cells, ages = episodes(seed, day, DRIFT, DRIFTS_PER_CELL * cells * factor, DRIFT_DAYS, cells)
    for cell, days in zip(drifting_cells, ages, strict=True):
        start = day - timedelta(days=int(days))
        rate = random_for(seed, start, f"{DRIFT} {cell}").uniform(0.012, 0.02)
        speed_factor = np.exp(-rate * (days + np.arange(PERIODS) / PERIODS))
        effects.speed_down[cell] *= speed_factor
        shows = (1 - speed_factor[0] >= DRIFT_SHOWS) & (effects.scenario[cell] == "")
        effects.scenario[cell, shows], effects.case[cell, shows] = DRIFT, f"{DRIFT}:{world.cell_id[cell]}:{start}"


def _apply_harmless_events(effects: Effects, world: World, seed: int, day: date) -> None:
    """Events that no alarm is to be raised for.

    Planned work (flagged suspect), restarts, devices that all call at once, lost reports, holidays of a region, matches.
    """
    rng, cells = random_for(seed, day, "innocent"), len(world.cell_id)
    for site in np.flatnonzero(rng.random(cells // CELLS_PER_SITE) < PLANNED_WORKS):
        begin = rng.integers(0, 16)
        work = slice(site * CELLS_PER_SITE, (site + 1) * CELLS_PER_SITE), slice(begin, begin + rng.integers(8, 16))
        effects.suspect[work], effects.unavailable[work], effects.traffic[work] = True, 800.0, 0.02
    for cell in np.flatnonzero(rng.random(cells) < RESTARTS):
        begin = rng.integers(0, PERIODS - 3)
        effects.unavailable[cell, begin : begin + rng.integers(1, 4)] = rng.uniform(60, 900)
    for cell in np.flatnonzero(rng.random(cells) < SIGNALLING_STORMS):
        begin = rng.integers(0, PERIODS - 8)
        effects.signalling[cell, begin : begin + rng.integers(3, 8)] *= rng.uniform(2, 7)
    is_lost = rng.random((cells, PERIODS)) < 0.002
    effects.missing |= is_lost
    for region in REGIONS:
        if rng.random() < EMPTY_REGIONS:
            effects.traffic[world.region == region] *= rng.uniform(0.55, 0.7)
    if rng.random() < MATCHES:
        begin = rng.integers(56, 76)
        effects.traffic[world.is_venue, begin : begin + 12] *= rng.uniform(1.8, 2.8)
