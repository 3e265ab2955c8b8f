"""How long a machine still runs: a regression on its last readings, judged by the score of the PHM challenge.

    python -m examples.predictive_maintenance.remaining_life                    # on lives that are made here
    python -m examples.predictive_maintenance.remaining_life --cmapss FOLDER    # on NASA's files, if you have them

Made lives: trained on some machines, tested on others, each cut off at a random moment. NASA's C-MAPSS (A. Saxena et al., PHM
2008): train_FD001.txt, test_FD001.txt and RUL_FD001.txt, of 100 turbofans each, which the challenge cuts off itself. Remaining
life counts to 125 cycles at most, as is usual with these data: before that nothing of a failure can be seen.
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

WINDOW = 24  # readings, or cycles, that are looked back on
MOST_CYCLES, MOST_MADE_CYCLES = 125, 60  # of NASA's engines, and of lives that are made here, which last some 120
EARLY, LATE = 13.0, 10.0  # of the challenge's score: a late prediction costs more than an early one
CMAPSS_COLUMNS = ["unit", "cycle", *(f"setting_{n}" for n in range(1, 4)), *(f"sensor_{n}" for n in range(1, 22))]


@dataclass(frozen=True)
class Judged:
    """What predictions were worth. rmse: in cycles; score: the challenge's, 0 if none is wrong; plain_rmse: of the mean."""

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
    """A row for each of a unit's readings: last value, mean and slope of WINDOW readings, and how far that is from the first."""
    rolling = readings[sensors].rolling(WINDOW, min_periods=1)
    means = rolling.mean()
    first = readings[sensors].iloc[:WINDOW].mean()
    slopes = (means - means.shift(WINDOW // 2)).fillna(0.0)
    parts = {"now": readings[sensors], "mean": means, "slope": slopes, "since": means - first}
    named = [part.add_prefix(f"{name}_") for name, part in parts.items()]
    return pd.concat([*named, readings[["cycle"]]], axis=1)


def judge(train: pd.DataFrame, test: pd.DataFrame, left: np.ndarray, sensors: list[str], most: float) -> Judged:
    """Learn from whole lives (`train`: unit, cycle, sensors), predict the life left of units that are cut off (`test`).

    left: true cycles left of each unit of `test`, in its order.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    lives = [readings.reset_index(drop=True) for _, readings in train.groupby("unit")]
    known = pd.concat([features_of(each, sensors) for each in lives])
    target = np.concatenate([np.minimum(each["cycle"].max() - each["cycle"].to_numpy(), most) for each in lives])
    model = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.06, min_samples_leaf=40, random_state=0)
    model.fit(known, target)
    last = pd.concat([features_of(each.reset_index(drop=True), sensors).tail(1) for _, each in test.groupby("unit")])
    predicted, true = np.clip(model.predict(last), 0, most), np.minimum(left, most)
    plain = np.sqrt(np.mean((target.mean() - true) ** 2))
    return Judged(len(true), float(np.sqrt(np.mean((predicted - true) ** 2))), phm_score(predicted, true), float(plain))


def made_lives(seed: int = 1, machines: int = 60, days: int = 140) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, list[str]]:
    """Whole lives of half the machines to learn from; of the others' lives each cut off at a random moment, and what was left.

    A cycle is eight hours, the mean of four readings: a life has as many as one of NASA's engines has flights.
    """
    population = Population.model_validate({"machines": machines})
    made = [generate_day(seed, population.opening + timedelta(days=number), population) for number in range(days)]
    rows = pd.concat([day.events.to_pandas() for day in made]).sort_values(["machine_id", "event_time"], ignore_index=True)
    sensors = ["vibration_mm_s", "temperature_c", "pressure_bar", "load"]
    begins = rows["run_hours"].diff().lt(0) | rows["machine_id"].ne(rows["machine_id"].shift())
    rows["unit"] = begins.cumsum()
    rows["cycle"] = rows.groupby("unit").cumcount() // 4 + 1
    rows = rows.groupby(["machine_id", "unit", "cycle"], as_index=False)[sensors].mean()
    # The first was cut off at its beginning, the last at its end.
    of_machine = rows.groupby("machine_id")["unit"]
    whole = rows[(rows["unit"] > of_machine.transform("min")) & (rows["unit"] < of_machine.transform("max"))]
    is_train = whole["machine_id"].str[1:].astype(int) % 2 == 0
    rng, tested, left = np.random.default_rng(seed), [], []
    for _, life in whole[~is_train].groupby("unit"):
        cut = int(rng.uniform(0.3, 0.98) * len(life))
        tested.append(life.head(cut))
        left.append(len(life) - cut)
    return whole[is_train], pd.concat(tested), np.array(left), sensors


def cmapss(folder: Path, name: str = "FD001") -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, list[str]]:
    """NASA's files of that name. Sensors that never change say nothing."""
    train, test = (pd.read_csv(folder / f"{part}_{name}.txt", sep=r"\s+", header=None, names=CMAPSS_COLUMNS)
                   for part in ("train", "test"))  # fmt: skip
    left = np.loadtxt(folder / f"RUL_{name}.txt").ravel()
    sensors = [each for each in CMAPSS_COLUMNS[2:] if train[each].std() > 1e-6]
    return train, test, left, sensors


def main() -> None:
    """Print what the predictions were worth."""
    parser = argparse.ArgumentParser(description="remaining life, judged by the score of the PHM challenge")
    parser.add_argument("--cmapss", type=Path, metavar="FOLDER", help="with train_FD001.txt, test_FD001.txt and RUL_FD001.txt")
    options = parser.parse_args()
    judged = judge(*cmapss(options.cmapss), MOST_CYCLES) if options.cmapss else judge(*made_lives(), MOST_MADE_CYCLES)
    sys.stdout.write(judged.line() + "\n")


if __name__ == "__main__":
    main()
