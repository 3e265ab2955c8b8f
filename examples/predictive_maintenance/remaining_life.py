"""Predicts how long a machine still runs, by a regression on its last readings, and evaluates it by the PHM challenge's score.

    .venv/bin/python -m examples.predictive_maintenance.remaining_life                    # on simulated lives
    .venv/bin/python -m examples.predictive_maintenance.remaining_life --cmapss FOLDER    # on NASA's files, if you have them

Simulated lives: trained on some machines, tested on others, each cut off at a random moment. NASA's C-MAPSS (A. Saxena et al.,
PHM 2008): train_FD001.txt, test_FD001.txt and RUL_FD001.txt, of 100 turbofans each, which the challenge cuts off itself.
Remaining life counts to 125 cycles at most, as is usual with these data: before that nothing of a failure can be seen.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from examples.predictive_maintenance.generator import generate_day
from examples.predictive_maintenance.settings import Population

WINDOW = 24  # readings, one a cycle, that features look back on
MAX_CYCLES, MAX_SIMULATED_CYCLES = 125, 60  # remaining life counts to: of NASA's engines, and of simulated lives, some 120 long
EARLY, LATE = 13.0, 10.0  # cycles, of the challenge's score: a late prediction costs more than an early one
CMAPSS_COLUMNS = ["unit", "cycle", *(f"setting_{n}" for n in range(1, 4)), *(f"sensor_{n}" for n in range(1, 22))]


@dataclass(frozen=True)
class Evaluation:
    """How good predictions were. rmse: in cycles; score: the challenge's, 0 if none is wrong; plain_rmse: of the mean life."""

    units: int
    rmse: float
    score: float
    plain_rmse: float

    def line(self) -> str:
        return (f"{self.units} units: root mean square error {self.rmse:.1f} (the mean alone: {self.plain_rmse:.1f}), "
                f"PHM score {self.score:,.0f}")  # fmt: skip


def phm_score(predicted: np.ndarray, true: np.ndarray) -> float:
    """The sum over units of exp(-d / 13) - 1 for a prediction too early by d, exp(d / 10) - 1 for one too late (PHM08)."""
    error = np.asarray(predicted, float) - np.asarray(true, float)
    return float(np.sum(np.where(error < 0, np.exp(-error / EARLY), np.exp(error / LATE)) - 1))


def features_of(readings: pd.DataFrame, sensors: list[str]) -> pd.DataFrame:
    """A row for each of a unit's readings: value, mean and slope of WINDOW readings, and the mean's distance from the first."""
    rolling = readings[sensors].rolling(WINDOW, min_periods=1)
    means = rolling.mean()
    first_mean = readings[sensors].iloc[:WINDOW].mean()
    slopes = (means - means.shift(WINDOW // 2)).fillna(0.0)
    statistics = {"now": readings[sensors], "mean": means, "slope": slopes, "since": means - first_mean}
    prefixed_statistics = [columns.add_prefix(f"{name}_") for name, columns in statistics.items()]
    return pd.concat([*prefixed_statistics, readings[["cycle"]]], axis=1)


def evaluate(train: pd.DataFrame, test: pd.DataFrame, remaining: np.ndarray, sensors: list[str], max_cycles: float) -> Evaluation:
    """Learn from whole lives (`train`: unit, cycle, sensors), predict the remaining life of units that are cut off (`test`).

    remaining: true cycles that remain of each unit of `test`, in its order.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    lives = [readings.reset_index(drop=True) for _, readings in train.groupby("unit")]
    features = pd.concat([features_of(life, sensors) for life in lives])
    target = np.concatenate([np.minimum(life["cycle"].max() - life["cycle"].to_numpy(), max_cycles) for life in lives])
    model = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.06, min_samples_leaf=40, random_state=0)
    model.fit(features, target)
    last_features = pd.concat([features_of(life.reset_index(drop=True), sensors).tail(1) for _, life in test.groupby("unit")])
    predictions, true_remaining = np.clip(model.predict(last_features), 0, max_cycles), np.minimum(remaining, max_cycles)
    plain_rmse = np.sqrt(np.mean((target.mean() - true_remaining) ** 2))
    return Evaluation(
        len(true_remaining),
        float(np.sqrt(np.mean((predictions - true_remaining) ** 2))),
        phm_score(predictions, true_remaining),
        float(plain_rmse),
    )


def simulated_lives(
    seed: int = 1, machines: int = 60, days: int = 140
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, list[str]]:
    """(train, test, remaining cycles of test, sensors): whole lives of half the machines, the others' cut off at random.

    A cycle is eight hours, the mean of four readings: a life has about as many as one of NASA's engines has flights.
    """
    population = Population.model_validate({"machines": machines})
    dates = [population.opening + timedelta(days=number) for number in range(days)]
    rows = pd.concat([generate_day(seed, day, population).events.to_pandas() for day in dates])
    rows = rows.sort_values(["machine_id", "event_time"], ignore_index=True)
    sensors = ["vibration_mm_s", "temperature_c", "pressure_bar", "load"]
    is_first_reading = rows["run_hours"].diff().lt(0) | rows["machine_id"].ne(rows["machine_id"].shift())
    rows["unit"] = is_first_reading.cumsum()
    rows["cycle"] = rows.groupby("unit").cumcount() // 4 + 1
    rows = rows.groupby(["machine_id", "unit", "cycle"], as_index=False)[sensors].mean()
    # A machine's first life lacks its beginning, its last its end.
    units_by_machine = rows.groupby("machine_id")["unit"]
    complete_lives = rows[(rows["unit"] > units_by_machine.transform("min")) & (rows["unit"] < units_by_machine.transform("max"))]
    is_train = complete_lives["machine_id"].str[1:].astype(int) % 2 == 0
    rng, test, remaining = np.random.default_rng(seed), [], []
    for _, life in complete_lives[~is_train].groupby("unit"):
        cut_cycle = int(rng.uniform(0.3, 0.98) * len(life))
        test.append(life.head(cut_cycle))
        remaining.append(len(life) - cut_cycle)
    return complete_lives[is_train], pd.concat(test), np.array(remaining), sensors


def read_cmapss(folder: Path, name: str = "FD001") -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, list[str]]:
    """The same from NASA's files of that name, without the sensors that never change."""
    train, test = (pd.read_csv(folder / f"{part}_{name}.txt", sep=r"\s+", header=None, names=CMAPSS_COLUMNS)
                   for part in ("train", "test"))  # fmt: skip
    remaining = np.loadtxt(folder / f"RUL_{name}.txt").ravel()
    sensors = [column for column in CMAPSS_COLUMNS[2:] if train[column].std() > 1e-6]
    return train, test, remaining, sensors


def main() -> None:
    """Print how good the predictions were."""
    parser = argparse.ArgumentParser(description="remaining life, evaluated by the score of the PHM challenge")
    parser.add_argument("--cmapss", type=Path, metavar="FOLDER", help="with train_FD001.txt, test_FD001.txt and RUL_FD001.txt")
    options = parser.parse_args()
    if options.cmapss:
        evaluation = evaluate(*read_cmapss(options.cmapss), MAX_CYCLES)
    else:
        evaluation = evaluate(*simulated_lives(), MAX_SIMULATED_CYCLES)
    sys.stdout.write(evaluation.line() + "\n")


if __name__ == "__main__":
    main()
