"""The transactions that every engine gets: finance_fraud's own generator, with so many per card that windows fill."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from common.simulation.messages import Messages, concatenate
from finance_fraud import VERTICAL
from finance_fraud.settings import Population
from loadtests.simulation_spec import SimulationSpec

FIRST_DAY = date(2020, 1, 1)
# Half of the windows that have a transaction have more than one. 490,000 transactions a day.
POPULATION = Population.model_validate({"cards": 5_000, "terminals": 1_000, "transactions_per_card": 100})
MAX_DELAY = np.timedelta64(30, "m")  # transactions that arrive later than this after their event time are left out


@dataclass(frozen=True)
class Transactions:
    """Valid transactions, each once, in order of arrival."""

    messages: Messages

    def __len__(self) -> int:
        return len(self.messages)

    @cached_property
    def columns(self) -> pd.DataFrame:
        """card_id, amount and event_time of each."""
        events = map(orjson.loads, self.messages.values)
        rows = pd.DataFrame(
            [(event["card_id"], event["amount"], event["event_time"]) for event in events],
            columns=["card_id", "amount", "event_time"],
        )
        return rows.assign(event_time=pd.to_datetime(rows["event_time"]))


def generate_transactions(seed: int, count: int, population: Population = POPULATION) -> Transactions:
    """The first `count` of the world that `seed` and `population` make."""
    chunks, total = list[Messages](), 0
    for messages in _punctual_messages(SimulationSpec(population, seed, FIRST_DAY)):
        chunks.append(messages)
        total += len(messages)
        if total >= count:
            break
    return Transactions(concatenate(chunks).take(np.arange(count)))


def _punctual_messages(simulation: SimulationSpec) -> Iterator[Messages]:
    for chunk in simulation.generate(VERTICAL, with_dirt=False):
        if chunk.messages is not None:
            yield chunk.messages.take(_delays(chunk.messages) <= MAX_DELAY)


def _delays(messages: Messages) -> NDArray[np.timedelta64]:
    times = [orjson.loads(value)["event_time"][:-1] for value in messages.values]
    return messages.arrival_time - np.array(times, "datetime64[ms]")
