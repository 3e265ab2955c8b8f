"""Posts of a simulated world, day by day, and apart from them labels: which of them are anomalous.

Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import (
    EVERY_DAY,
    DirtyFields,
    EventColumns,
    GeneratedEvents,
    case_count,
    delays,
    draw_distinct,
    object_array,
    random_for,
)
from examples.social_trends.events import ENTITY, EVENT_ID, EVENT_TIME, LABEL_DELAY
from examples.social_trends.sentiment import lexicon
from examples.social_trends.settings import Population

EVENT_COLUMNS = EventColumns(EVENT_ID, ENTITY, EVENT_TIME, LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="followers", out_of_range=-1.0, required="author_id", time="event_time")

VIRAL, OUTRAGE, CAMPAIGN = "viral", "outrage", "campaign"
CASES_PER_DAY = 0.02  # of each scenario, per term
GOOD = sorted(word for word, valence in lexicon().items() if valence > 1.5)
BAD = sorted(word for word, valence in lexicon().items() if valence < -1.8)
PLAIN = ("interesting", "on again", "everywhere today", "in the news", "on my way home", "with everybody here")
OPENINGS = (
    "that clip about {} was", "everybody talks about {}, it is", "just saw {}:", "my take on {}:", "so {} again,", "{} today,",
)  # fmt: skip
SLOGANS = ("vote for {} now, you will thank us", "only {} tells you what they hide", "buy {} before everybody else does")


@dataclass
class Posts:
    """Posts in no order, as arrays: term (index), second of the day, mood (-1, 0, 1); scenario and text of a campaign, or ""."""

    term: NDArray[np.int64]
    second: NDArray[np.float64]
    mood: NDArray[np.int64]
    scenario: str = ""
    slogan: str = ""


def generate_day(seed: int, day: date, population: Population) -> GeneratedEvents:
    """The valid posts of one UTC day and the labels of the anomalous ones; no messages yet."""
    usual_posts, negativity = _season(seed, day, population)
    rng = random_for(seed, day, "posts")
    counts = rng.poisson(usual_posts * rng.lognormal(0, 0.05, (len(usual_posts), 1)))
    term, hour = (axis.repeat(counts.ravel()) for axis in np.indices(counts.shape).reshape(2, -1))
    mood = _moods(rng, negativity[term])
    posts = [Posts(term, (hour + rng.random(len(hour))) * 3_600, mood)]
    posts += [*_viral_posts(seed, day, population, usual_posts, negativity), *_outrage_posts(seed, day, population, usual_posts),
              *_campaign_posts(seed, day, population)]  # fmt: skip
    return _events_and_labels(seed, day, population, posts)


def _season(seed: int, day: date, population: Population) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posts that are usual for each term in each hour of this day, and the share of its posts that is negative."""
    rng = random_for(seed, EVERY_DAY, "world")
    rate = population.posts_per_term * rng.lognormal(-0.32, 0.8, population.terms)
    peak, depth = rng.uniform(8, 22, population.terms), rng.uniform(0.3, 0.8, population.terms)
    weekend, negativity = rng.lognormal(0, 0.4, population.terms), rng.uniform(0.05, 0.25, population.terms)
    by_hour = 1 + depth[:, None] * np.cos((np.arange(24) - peak[:, None]) * np.pi / 12)
    posts_per_day = rate * (weekend if day.weekday() >= 5 else 1.0)
    return posts_per_day[:, None] * by_hour / 24, negativity


def _moods(rng: np.random.Generator, negativity: NDArray[np.float64]) -> NDArray[np.int64]:
    """The mood of each post, by the share of its term's posts that is negative."""
    quantile = rng.random(len(negativity))
    return np.where(quantile < negativity, -1, np.where(quantile < negativity + 0.35, 1, 0))


def _viral_posts(
    seed: int, day: date, population: Population, usual_posts: NDArray[np.float64], negativity: NDArray[np.float64]
) -> Iterator[Posts]:
    """For one to three hours a term is talked about five to nine times as much as usual, and by 25 people an hour at least."""
    rng = random_for(seed, day, VIRAL)
    for term in draw_distinct(rng, len(usual_posts), _draw_case_count(seed, day, VIRAL, population)):
        begin_hour, hours = rng.uniform(0, 20), rng.uniform(1, 3)
        post_count = rng.poisson(hours * (25 + usual_posts[term, int(begin_hour)] * rng.uniform(4, 8)))
        terms = np.full(post_count, term)
        yield Posts(terms, _draw_seconds(rng, begin_hour, hours, post_count), _moods(rng, negativity[terms]), VIRAL)


def _outrage_posts(seed: int, day: date, population: Population, usual_posts: NDArray[np.float64]) -> Iterator[Posts]:
    """For one to three hours people are angry about a term: as many negative posts as it usually has posts, and 15 an hour."""
    rng = random_for(seed, day, OUTRAGE)
    for term in draw_distinct(rng, len(usual_posts), _draw_case_count(seed, day, OUTRAGE, population)):
        begin_hour, hours = rng.uniform(0, 20), rng.uniform(1, 3)
        post_count = rng.poisson(hours * (15 + usual_posts[term, int(begin_hour)]))
        yield Posts(
            np.full(post_count, term), _draw_seconds(rng, begin_hour, hours, post_count), np.full(post_count, -1), OUTRAGE
        )


def _campaign_posts(seed: int, day: date, population: Population) -> Iterator[Posts]:
    """Within half an hour 15 to 40 accounts post one and the same text."""
    rng = random_for(seed, day, CAMPAIGN)
    for term in draw_distinct(rng, population.terms, _draw_case_count(seed, day, CAMPAIGN, population)):
        post_count = int(rng.integers(15, 41))
        slogan = SLOGANS[rng.integers(len(SLOGANS))]
        yield Posts(
            np.full(post_count, term),
            _draw_seconds(rng, rng.uniform(0, 23), 0.5, post_count),
            np.zeros(post_count, int),
            CAMPAIGN,
            slogan,
        )


def _draw_seconds(rng: np.random.Generator, begin_hour: float, hours: float, post_count: int) -> NDArray[np.float64]:
    """Seconds of the day, within so many hours from `begin_hour` on."""
    return (begin_hour + rng.random(post_count) * hours) * 3_600


def _draw_case_count(seed: int, day: date, purpose: str, population: Population) -> int:
    """The number of cases of a scenario that begin on a day."""
    return case_count(seed, day, purpose, CASES_PER_DAY * population.terms * population.anomalies)


def _events_and_labels(seed: int, day: date, population: Population, parts: list[Posts]) -> GeneratedEvents:
    """Rows in order of time as events, and labels of those with a scenario; what happens to a term on a day is one case."""
    term, second, mood = (np.concatenate([getattr(part, name) for part in parts]) for name in ("term", "second", "mood"))
    scenario = object_array([part.scenario for part in parts]).repeat([len(part.term) for part in parts])
    slogan = object_array([part.slogan for part in parts]).repeat([len(part.term) for part in parts])
    order = np.argsort(second, kind="stable")
    term, second, mood, scenario, slogan = (values[order] for values in (term, second, mood, scenario, slogan))
    rng = random_for(seed, day, "texts")
    names = object_array([f"tag{number:05d}" for number in range(population.terms)])[term]
    # Few people post much, and many hardly ever; a campaign's accounts are all different.
    authors = np.minimum(population.authors - 1, (population.authors * rng.random(len(term)) ** 3).astype(int))
    authors = np.where(slogan != "", np.arange(len(term)) % population.authors, authors)
    time = np.datetime64(day, "ms") + (second * 1_000).astype("timedelta64[ms]")
    columns = {
        EVENT_ID: object_array([f"p{day:%Y%m%d}{number:08d}" for number in range(len(term))]),
        ENTITY: names,
        "author_id": object_array([f"a{number:07d}" for number in authors]),
        "followers": np.floor(50 * random_for(seed, day, "followers").pareto(1.1, len(term))).clip(0, 10**8).astype(np.int64),
        "text": object_array(_texts(rng, names, mood, slogan)),
        EVENT_TIME: time,
    }
    case = object_array([f"{kind}:{name}:{day}" if kind else "" for kind, name in zip(scenario, names, strict=True)])
    arrival_time = time + delays(random_for(seed, day, "delays"), len(time))
    return GeneratedEvents.from_columns(day, columns, scenario, arrival_time, EVENT_COLUMNS, case)


def _texts(rng: np.random.Generator, names: NDArray, mood: NDArray, slogan: NDArray) -> list[str]:
    """A sentence for each post, in its mood; only those of a campaign are alike."""
    opening, word = rng.integers(len(OPENINGS), size=len(names)), rng.integers(1 << 30, size=len(names))
    words = {-1: BAD, 0: PLAIN, 1: GOOD}

    def text(number: int, name: str, slogan: str, opening: int, mood: int, word: int) -> str:
        if slogan:
            return slogan.format(name)
        return f"{OPENINGS[opening].format(name)} {words[mood][word % len(words[mood])]} ({number})"

    return [text(number, *parts) for number, parts in enumerate(zip(names, slogan, opening, mood.tolist(), word, strict=True))]
