"""Who is killed when: drawn before the run, so that a seed names a run."""

import random
from dataclasses import dataclass

BROKER, PARTITIONS = "broker", "partitions"
DRIVERS = ("archive", "detect")
# SIGKILL to the driver's Python alone, or to the JVM below it alone; the other half must end by itself.
HALVES = ("python", "java")


@dataclass
class Kill:
    """at: seconds from the first event; half: of a driver's processes; back: seconds until its work went on, None if never.

    Of victim PARTITIONS nobody is killed: the topic is given one more, at which detection ends by itself.
    """

    at: float
    victim: str
    half: str = ""
    back: float | None = None


def planned(seed: int, seconds: float, drivers: int, brokers: int) -> list[Kill]:
    """One kill at a random moment of each of as many equal stretches of the run, for drivers and for the broker apart.

    And once, in the middle third, the topic gets a partition.
    """
    chance = random.Random(seed)
    victims = [DRIVERS[number % len(DRIVERS)] for number in range(drivers)]
    chance.shuffle(victims)
    moments = _moments(chance, seconds, drivers)
    kills = [Kill(at, victim, chance.choice(HALVES)) for at, victim in zip(moments, victims, strict=True)]
    kills += [Kill(at, BROKER) for at in _moments(chance, seconds, brokers)]
    kills.append(Kill(seconds * (1 + chance.random()) / 3, PARTITIONS))
    return sorted(kills, key=lambda kill: kill.at)


def _moments(chance: random.Random, seconds: float, count: int) -> list[float]:
    return [(number + chance.random()) * seconds / count for number in range(count)]
