"""The transactions that every engine gets: finance_fraud's own generator, dense enough for windows to fill."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from common.simulation.messages import Messages, joined
from finance_fraud import VERTICAL
from finance_fraud.settings import Population

FIRST_DAY = date(2020, 1, 1)
# Half of the windows that have a transaction have more than one. 490,000 transactions a day.
POPULATION = Population.model_validate({"cards": 5_000, "terminals": 1_000, "transactions_per_card": 100})
MOST_DAYS = 3_650
LATEST = np.timedelta64(30, "m")  # what comes later than this after its event time is left out


@dataclass(frozen=True)
class Transactions:
    """Valid transactions, each once, in order of arrival."""

    messages: Messages

    def __len__(self) -> int:
        return len(self.messages)

    @cached_property
    def columns(self) -> pd.DataFrame:
        """card_id, amount and event_time of each."""
        read = map(orjson.loads, self.messages.values)
        rows = pd.DataFrame(
            [(event["card_id"], event["amount"], event["event_time"]) for event in read],
            columns=["card_id", "amount", "event_time"],
        )
        return rows.assign(event_time=pd.to_datetime(rows["event_time"]))


def transactions(seed: int, count: int, population: Population = POPULATION) -> Transactions:
    """The first `count` of the world that `seed` and `population` make."""
    taken, found = list[Messages](), 0
    for messages in _in_time(seed, population):
        taken.append(messages)
        found += len(messages)
        if found >= count:
            break
    return Transactions(joined(taken).take(np.arange(count)))


def _in_time(seed: int, population: Population) -> Iterator[Messages]:
    for chunk in VERTICAL.generate(seed, FIRST_DAY, MOST_DAYS, population, False):
        if chunk.messages is not None:
            yield chunk.messages.take(_delays(chunk.messages) <= LATEST)


def _delays(messages: Messages) -> NDArray[np.timedelta64]:
    times = [orjson.loads(value)["event_time"][:-1] for value in messages.values]
    return messages.arrival_time - np.array(times, "datetime64[ms]")
