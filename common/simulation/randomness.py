"""Random numbers that depend on (seed, day, purpose) alone, so that any day can be generated without the days before it."""

from datetime import date
from zlib import crc32

import numpy as np

EVERY_DAY = date(1970, 1, 1)  # the "day" of draws that hold on every day, such as the population


def random_for(seed: int, day: date, purpose: str) -> np.random.Generator:
    """A random generator for the purpose alone: a further draw for one purpose changes no other."""
    return np.random.default_rng([seed, day.toordinal(), crc32(purpose.encode())])
