"""Draws the kill schedule from the seed before the run, so that a run can be repeated by its seed."""

import random
from dataclasses import dataclass

BROKER, PARTITIONS = "broker", "partitions"
DRIVERS = ("archive", "detect")
# SIGKILL to the driver's Python alone, or to the JVM below it alone; the other one must end by itself.
PROCESS_KINDS = ("python", "java")


@dataclass
class Kill:
    """One planned kill. at_seconds: after the first event; process_kind: which of a driver's processes, one of PROCESS_KINDS, is
    killed; recovery_seconds: until its work went on, None if never.

    With victim PARTITIONS nothing is killed: the topic gets one more partition, at which detection ends by itself.
    """

    at_seconds: float
    victim: str
    process_kind: str = ""
    recovery_seconds: float | None = None


def draw_kills(seed: int, seconds: float, drivers: int, brokers: int) -> list[Kill]:
    """Draws that many kills of drivers and of brokers: the run is cut into equal stretches, with one kill at random in each.

    Once, in the middle third, the topic gets a partition.
    """
    rng = random.Random(seed)
    victims = [DRIVERS[number % len(DRIVERS)] for number in range(drivers)]
    rng.shuffle(victims)
    moments = _draw_moments(rng, seconds, drivers)
    kills = [Kill(moment, victim, rng.choice(PROCESS_KINDS)) for moment, victim in zip(moments, victims, strict=True)]
    kills += [Kill(moment, BROKER) for moment in _draw_moments(rng, seconds, brokers)]
    kills.append(Kill(seconds * (1 + rng.random()) / 3, PARTITIONS))
    return sorted(kills, key=lambda kill: kill.at_seconds)


def _draw_moments(rng: random.Random, seconds: float, count: int) -> list[float]:
    return [(number + rng.random()) * seconds / count for number in range(count)]
