"""Finds patterns in one patient's window for the rules: highest scores, unbroken runs, artefacts. `rise` has its own module.

All functions take a Column of observations (`observations.with_observation`) in order of time, and a threshold `min_score`.
`since` is the instant (ms) from which on a pattern counts: what ended before it was judged with the window before.
They return a struct with at least `score`, `reached_time` (when the score first reached the threshold, null if it did not) and
`evidence` (ids of the observations behind it).
An observation that arrives late may add a pattern. Only `artefact` may lose one (a known limit in README): so a stream ends
with the alerts that history computes.
"""

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.authoring import let
from health_monitoring.rules.observations import CREDIBLE, CredibleRange
from health_monitoring.settings import HealthSettings

RUN = "struct<first:bigint,until:bigint,ids:array<string>,score:double,reached_time:bigint,evidence:array<string>>"


def millis(observation: Column) -> Column:
    """When the observation was made, in ms since the epoch."""
    return F.unix_millis(observation.event_time)


def believable_observations(observations: Column, since: Column, settings: HealthSettings) -> Column:
    """Those since `since` whose values are believable: none is extreme, other signs speak for it, or a second reading does."""

    def is_confirmed(observation: Column) -> Column:
        # The next reading of a device that reports once an hour comes later than `confirm_minutes`.
        max_distance_ms = F.greatest(F.lit(int(settings.confirm_minutes * 60_000)), observation.gap_ms)
        return F.exists(
            observations,
            lambda other: (
                (other.id != observation.id)
                & (F.abs(millis(other) - millis(observation)) <= max_distance_ms)
                & (other.extreme.bitwiseAND(observation.extreme) != 0)
            ),
        )

    return F.filter(
        observations, lambda observation: (millis(observation) >= since) & (observation.is_believable | is_confirmed(observation))
    )


def highest_score(observations: Column, score: Callable[[Column], Column], min_score: Column) -> Column:
    """The highest of the observations' scores, the latest of equals; also `missing` of that one. Null where all scores are.

    score(observation) -> Column: null for an observation that does not count.
    """
    scores = F.filter(
        F.transform(
            observations,
            lambda observation: F.struct(
                score(observation).cast("double").alias("score"),
                observation.event_time.alias("event_time"),
                observation.id.alias("id"),
                observation.missing.alias("missing"),
            ),
        ),
        lambda candidate: candidate.score.isNotNull(),
    )

    def first_reached_time(scores: Column) -> Column:
        hits = F.filter(scores, lambda candidate: candidate.score >= min_score)
        return F.array_min(F.transform(hits, lambda candidate: candidate.event_time))

    def finding_of_scores(scores: Column, highest: Column) -> Column:
        return F.struct(
            highest.score.alias("score"),
            first_reached_time(scores).alias("reached_time"),
            F.array(highest.id).alias("evidence"),
            highest.missing.alias("missing"),
        )

    return let(
        scores,
        lambda scores: let(F.array_max(scores), lambda highest: F.when(highest.isNotNull(), finding_of_scores(scores, highest))),
    )


def longest_run(observations: Column, since: Column, flag: str, min_score: Column) -> Column:
    """The longest unbroken run of observations with `flag` that lasts beyond `since`; score: minutes from first to last.

    A run is unbroken while the next observation with the flag comes within `gap_ms` of one before it. So an observation that
    comes late, from whatever device, can only join runs. Null where fewer than two have the flag.
    """

    def extend_run(run: Column, observation: Column) -> Column:
        goes_on = run.until.isNotNull() & (millis(observation) <= run.until)
        first = F.when(goes_on, run.first).otherwise(millis(observation))
        ids = F.concat(F.when(goes_on, run.ids).otherwise(F.array().cast("array<string>")), F.array(observation.id))
        minutes = (millis(observation) - first) / 60_000
        is_longest = (millis(observation) >= since) & (minutes > F.coalesce(run.score, F.lit(-1.0)))
        reached_time = F.when((millis(observation) >= since) & (minutes >= min_score), millis(observation))
        until = F.greatest(run.until, millis(observation) + observation.gap_ms)
        return F.struct(
            first.alias("first"), until.alias("until"), ids.alias("ids"),
            F.when(is_longest, minutes).otherwise(run.score).alias("score"),
            F.coalesce(run.reached_time, reached_time).alias("reached_time"),
            F.when(is_longest, ids).otherwise(run.evidence).alias("evidence"),
        ).cast(RUN)  # fmt: skip

    def finding_of_run(run: Column) -> Column:
        return F.struct(
            run.score.alias("score"), F.timestamp_millis(run.reached_time).alias("reached_time"), run.evidence.alias("evidence")
        )

    return let(
        F.filter(observations, lambda observation: observation[flag]),
        lambda candidates: F.when(
            F.size(candidates) > 1, F.aggregate(candidates, F.lit(None).cast(RUN), extend_run, finding_of_run)
        ),
    )


def artefact(observations: Column, since: Column, settings: HealthSettings, min_score: Column) -> Column:
    """The lone reading that jumps furthest there and back while all else is still; also its `parameter`. Null without any.

    score: the smaller of its two jumps as a multiple of what is credible for the parameter.
    """
    suspects = F.filter(
        _with_neighbours(observations),
        lambda triple: (
            (triple.suspect.extreme != 0)
            & (millis(triple.after) >= since)
            & (millis(triple.after) - millis(triple.before) <= settings.artefact_minutes * 60_000)
        ),
    )
    jumps = F.transform(suspects, lambda triple: F.array_max(F.array(*[_jump(triple, credible) for credible in CREDIBLE])))

    def finding_of_jumps(jumps: Column, furthest_jump: Column) -> Column:
        wide_jumps = F.filter(jumps, lambda jump: jump.score >= min_score)
        reached_time = F.array_min(F.transform(wide_jumps, lambda jump: jump.after_time))
        return F.struct(
            furthest_jump.score.alias("score"),
            reached_time.alias("reached_time"),
            F.array(furthest_jump.id).alias("evidence"),
            furthest_jump.parameter.alias("parameter"),
        )

    furthest = let(
        F.filter(jumps, lambda jump: jump.score.isNotNull()),
        lambda jumps: let(
            F.array_max(jumps), lambda furthest_jump: F.when(furthest_jump.isNotNull(), finding_of_jumps(jumps, furthest_jump))
        ),
    )
    return F.when(F.exists(observations, lambda observation: observation.extreme != 0), furthest)


def _with_neighbours(observations: Column) -> Column:
    """Structs of three successive observations: before, suspect, after."""
    count = F.greatest(F.size(observations) - 2, F.lit(0))
    return F.arrays_zip(
        F.slice(observations, 1, count).alias("before"),
        F.slice(observations, 2, count).alias("suspect"),
        F.slice(observations, 3, count).alias("after"),
    )


def _jump(triple: Column, credible: CredibleRange) -> Column:
    """The suspect's jump of one parameter, there and back; score is null where it is not absurd, or another sign moved with it.

    after_time: of the reading after it, with which the jump back is known.
    """
    value_before, value, value_after = (
        triple.before[credible.parameter],
        triple.suspect[credible.parameter],
        triple.after[credible.parameter],
    )
    jump_there, jump_back = value - value_before, value - value_after
    is_absurd = triple.suspect.extreme.bitwiseAND(1 << CREDIBLE.index(credible)) != 0
    has_moved = [
        F.coalesce(
            F.abs(triple.suspect[other.parameter] - (triple.before[other.parameter] + triple.after[other.parameter]) / 2)
            > float(other.jump) / 3,
            F.lit(False),
        )
        for other in CREDIBLE
        if other != credible
    ]
    is_still_elsewhere = ~F.array_contains(F.array(*has_moved), True)
    jump = float(credible.jump)
    multiple = F.least(F.abs(jump_there), F.abs(jump_back)) / jump
    is_lone = is_absurd & (jump_there * jump_back > 0) & (F.abs(value_before - value_after) <= jump / 2) & is_still_elsewhere
    return F.struct(
        F.when(is_lone, multiple).alias("score"),
        triple.after.event_time.alias("after_time"),
        triple.suspect.id.alias("id"),
        F.lit(credible.parameter).alias("parameter"),
    )
