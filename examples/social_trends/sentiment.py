"""The sentiment of a text by its words, -1 to 1, as a column that a stream computes natively.

lexicon.csv has the mean valence that ten people gave to each word, -4 to 4: 154 words of the VADER lexicon (C.J. Hutto and
E. Gilbert, ICWSM 2014; MIT licence). A word after a negation counts -0.74 times, and the sum s becomes s / sqrt(s^2 + 15):
both figures are theirs. Their other rules (capitals, degrees, emoji, "but") are left out.
"""

import csv
import re
from functools import cache, reduce
from pathlib import Path

from pyspark.sql import Column
from pyspark.sql import functions as F

NEGATIONS = ("not", "no", "never", "isn't", "wasn't", "don't", "doesn't", "didn't", "can't", "won't", "without")
NEGATION_FACTOR, ALPHA = -0.74, 15.0


@cache
def lexicon() -> dict[str, float]:
    """Words and their valences."""
    with Path(__file__).with_name("lexicon.csv").open() as file:
        return {row["word"]: float(row["valence"]) for row in csv.DictReader(file)}


def sentiment(text: Column) -> Column:
    """-1 (bad) to 1 (good), 0 for a text without a word of the lexicon."""
    words = F.split(F.lower(text), r"[^a-z']+")
    valences = F.create_map(*[F.lit(part) for entry in lexicon().items() for part in entry])
    negations = F.array(*map(F.lit, NEGATIONS))

    def add(state: Column, word: Column) -> Column:
        factor = F.when(state.is_negated, NEGATION_FACTOR).otherwise(1.0)
        valence = F.coalesce(F.try_element_at(valences, word), F.lit(0.0)) * factor
        return F.struct((state.sum + valence).alias("sum"), F.array_contains(negations, word).alias("is_negated"))

    total = F.aggregate(words, F.struct(F.lit(0.0).alias("sum"), F.lit(False).alias("is_negated")), add).sum
    return total / F.sqrt(total * total + ALPHA)


def sentiment_of(text: str) -> float:
    """The same in plain Python, for comparison."""
    words = re.split(r"[^a-z']+", text.lower())

    def add(state: tuple[float, bool], word: str) -> tuple[float, bool]:
        total, is_negated = state
        return total + lexicon().get(word, 0.0) * (NEGATION_FACTOR if is_negated else 1.0), word in NEGATIONS

    total, _ = reduce(add, words, (0.0, False))
    return float(total / (total * total + ALPHA) ** 0.5)
