"""Faults by name, and what looks like one and is none: each changes what the cells of a day would have measured.

A fault begins at any quarter of an hour and may run into the next day. A drift is labelled from the day on which it has
taken DRIFT_SHOWS of the throughput: before that, nobody could call it one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from common.simulation.anomalies import cases_on, episodes
from common.simulation.randomness import random_for
from telecom_anomaly.simulation.population import CELLS_PER_SITE, PERIODS, REGIONS, World

FAULTS_PER_CELL = 1 / 80      # of each kind, a day
DRIFTS_PER_CELL = 1 / 400
DRIFT_DAYS = 28
DRIFT_SHOWS = 0.15
PLANNED_WORKS = 1 / 60        # per site and day
RESTARTS = 0.01               # per cell and day, as are the next
SIGNALLING_STORMS = 0.06
EMPTY_REGIONS = 0.02          # holidays per region and day
MATCHES = 0.25                # share of days with one

FACTORS = ("traffic", "signalling", "speed_down", "speed_up", "delay", "loss_up", "drops")


@dataclass
class Effects:
    """What faults do, (cells, PERIODS) each: factors on what would have been, and what comes on top."""

    traffic: NDArray[np.float64]
    signalling: NDArray[np.float64]    # attempts per user
    speed_down: NDArray[np.float64]
    speed_up: NDArray[np.float64]
    delay: NDArray[np.float64]
    loss_up: NDArray[np.float64]
    drops: NDArray[np.float64]
    refused: NDArray[np.float64]       # share of attempts, on top of the usual
    unavailable: NDArray[np.float64]   # seconds of the period
    suspect: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    scenario: NDArray[np.object_]      # "" where there is none
    case: NDArray[np.object_]

    @classmethod
    def none(cls, cells: int) -> "Effects":
        shape = (cells, PERIODS)
        factors = {name: np.ones(shape) for name in FACTORS}
        return cls(
            refused=np.zeros(shape), unavailable=np.zeros(shape), suspect=np.zeros(shape, bool), missing=np.zeros(shape, bool),
            scenario=np.full(shape, "", object), case=np.full(shape, "", object), **factors)


@dataclass(frozen=True)
class Case:
    """One fault on one day: the cells, and of its own `length` periods those [begin, end) that lie within the day."""

    rng: np.random.Generator   # the same on both days that a fault touches
    cells: NDArray[np.int64]
    begin: int
    end: int
    is_first_day: bool

    @property
    def at(self) -> tuple[NDArray, slice]:
        return self.cells, slice(self.begin, self.end)


@dataclass(frozen=True)
class Kind:
    """A fault: how many periods it lasts, the periods of the day in which it may begin, if it takes all cells of the site."""

    name: str
    lasts: tuple[int, int]
    apply: Callable[[Effects, Case], None]
    begins: tuple[int, int] = (1, PERIODS)
    whole_site: bool = False


def sleeping_cell(effects: Effects, case: Case) -> None:
    """On the air, no alarm, and hardly a user gets in."""
    effects.traffic[case.at] *= case.rng.uniform(0.03, 0.15)


def site_backhaul(effects: Effects, case: Case) -> None:
    """The link of the site is degraded: all its cells are slow and late, whatever their load."""
    effects.delay[case.at] *= case.rng.uniform(2.5, 5)
    effects.drops[case.at] *= case.rng.uniform(2, 5)
    effects.speed_down[case.at] *= case.rng.uniform(0.35, 0.6)


def interference(effects: Effects, case: Case) -> None:
    """A foreign transmitter in the uplink: packets of the cell are lost, its load is as ever."""
    effects.loss_up[case.at] *= case.rng.uniform(4, 9)
    effects.speed_up[case.at] *= case.rng.uniform(0.3, 0.6)


def flapping(effects: Effects, case: Case) -> None:
    """Up and down, up and down: unavailable for some minutes of every other period."""
    seconds = case.rng.uniform(120, 600)
    effects.unavailable[case.cells, case.begin + (case.begin % 2):case.end:2] = seconds


def congestion(effects: Effects, case: Case) -> None:
    """More users than the cell can take: connections are refused."""
    effects.traffic[case.at] *= case.rng.uniform(1.6, 2.6)
    effects.refused[case.at] += case.rng.uniform(0.07, 0.16)


def degraded_cell(effects: Effects, case: Case) -> None:
    """One cell's delay, drops or throughput is off, nothing else of it: drops by twice the factor of the other two."""
    kind, factor = case.rng.integers(3), case.rng.uniform(2.5, 4.5)
    which = (effects.delay, effects.drops, effects.speed_down)[kind]
    which[case.at] *= (factor, factor * 2, 1 / factor)[kind]


def silent_cell(effects: Effects, case: Case) -> None:
    """No report at all; the last one before is what the label names."""
    effects.missing[case.at] = True


KINDS = (
    Kind("sleeping_cell", (16, 48), sleeping_cell),
    Kind("site_backhaul", (8, 32), site_backhaul, whole_site=True),
    Kind("interference", (8, 32), interference),
    Kind("flapping", (12, 28), flapping),
    Kind("congestion", (6, 20), congestion, begins=(36, 76)),
    Kind("degraded_cell", (6, 20), degraded_cell),
    Kind("silent_cell", (8, 40), silent_cell),
)
DRIFT = "slow_drift"


def effects_of(world: World, seed: int, day: date, factor: float) -> Effects:
    """All that happens on `day`, faults with their labels and innocent things without."""
    effects = Effects.none(len(world.cell_id))
    _innocent(effects, world, seed, day)
    for start in (day - timedelta(days=1), day):
        _begun_on(effects, world, seed, start, day, factor)
    _drifts(effects, world, seed, day, factor)
    return effects


def _begun_on(effects: Effects, world: World, seed: int, start: date, day: date, factor: float) -> None:
    """Faults that began on `start`, as far as they lie within `day`. No two that begin on a day share a site."""
    cells = len(world.cell_id)
    rng = random_for(seed, start, "faults")
    sites = iter(rng.permutation(cells // CELLS_PER_SITE))
    shift = (day - start).days * PERIODS
    for kind in KINDS:
        for number in range(cases_on(seed, start, kind.name, FAULTS_PER_CELL * cells * factor)):
            begin, length = int(rng.integers(*kind.begins)), int(rng.integers(*kind.lasts))
            member = rng.integers(CELLS_PER_SITE)
            site = next(sites, None)
            if site is None:
                return
            members = np.arange(CELLS_PER_SITE) if kind.whole_site else np.array([member])
            first, last = max(begin - shift, 0), min(begin + length - shift, PERIODS)
            if first < last:
                own = random_for(seed, start, f"{kind.name} {number}")
                case = Case(own, site * CELLS_PER_SITE + members, first, last, shift == 0)
                kind.apply(effects, case)
                _label(effects, world, kind, case, start)


def _label(effects: Effects, world: World, kind: Kind, case: Case, start: date) -> None:
    who = (world.site_id if kind.whole_site else world.cell_id)[case.cells[0]]
    if kind.name != "silent_cell":
        effects.scenario[case.at], effects.case[case.at] = kind.name, f"{kind.name}:{who}:{start}"
    elif case.is_first_day:
        cell, last_heard = case.cells[0], case.begin - 1
        effects.missing[cell, last_heard] = False
        effects.scenario[cell, last_heard], effects.case[cell, last_heard] = kind.name, f"{kind.name}:{who}:{start}"


def _drifts(effects: Effects, world: World, seed: int, day: date, factor: float) -> None:
    """An antenna or feeder ages: throughput falls by 1.2 to 2 percent a day for four weeks, then it is repaired."""
    cells = len(world.cell_id)
    who, age = episodes(seed, day, DRIFT, DRIFTS_PER_CELL * cells * factor, DRIFT_DAYS, cells)
    for cell, days in zip(who, age, strict=True):
        start = day - timedelta(days=int(days))
        rate = random_for(seed, start, f"{DRIFT} {cell}").uniform(0.012, 0.02)
        kept = np.exp(-rate * (days + np.arange(PERIODS) / PERIODS))
        effects.speed_down[cell] *= kept
        shows = (1 - kept[0] >= DRIFT_SHOWS) & (effects.scenario[cell] == "")
        effects.scenario[cell, shows], effects.case[cell, shows] = DRIFT, f"{DRIFT}:{world.cell_id[cell]}:{start}"


def _innocent(effects: Effects, world: World, seed: int, day: date) -> None:
    """What nobody is to be called for.

    Planned work (flagged suspect), restarts, devices that all call at once, lost reports, holidays of a region, matches.
    """
    rng, cells = random_for(seed, day, "innocent"), len(world.cell_id)
    for site in np.flatnonzero(rng.random(cells // CELLS_PER_SITE) < PLANNED_WORKS):
        begin = rng.integers(0, 16)
        at = slice(site * CELLS_PER_SITE, (site + 1) * CELLS_PER_SITE), slice(begin, begin + rng.integers(8, 16))
        effects.suspect[at], effects.unavailable[at], effects.traffic[at] = True, 800.0, 0.02
    for cell in np.flatnonzero(rng.random(cells) < RESTARTS):
        begin = rng.integers(0, PERIODS - 3)
        effects.unavailable[cell, begin:begin + rng.integers(1, 4)] = rng.uniform(60, 900)
    for cell in np.flatnonzero(rng.random(cells) < SIGNALLING_STORMS):
        begin = rng.integers(0, PERIODS - 8)
        effects.signalling[cell, begin:begin + rng.integers(3, 8)] *= rng.uniform(2, 7)
    is_lost = rng.random((cells, PERIODS)) < 0.002
    effects.missing |= is_lost
    for region in REGIONS:
        if rng.random() < EMPTY_REGIONS:
            effects.traffic[world.region == region] *= rng.uniform(0.55, 0.7)
    if rng.random() < MATCHES:
        begin = rng.integers(56, 76)
        effects.traffic[world.is_venue, begin:begin + 12] *= rng.uniform(1.8, 2.8)
