"""What is looked for in the observations of one patient's window: runs, rises, artefacts, highest scores.

All functions take a Column of observations (`observations.with_observation`) in order of time, `since`, the instant (ms)
from which on a finding counts (what ended before was the window before's), and a threshold. They give a struct with at least
`score`, `reached` (when it first reached the threshold, null if it did not) and `found` (ids of the observations behind it).
An observation that arrives late can add a finding but hardly take one away: a stream then ends with what history says.
"""

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.columns import let
from common.thresholds import threshold
from health_monitoring.rules.observations import CREDIBLE
from health_monitoring.settings import HealthSettings

RUN = "struct<first:bigint,until:bigint,ids:array<string>,score:double,reached:bigint,found:array<string>>"


def millis(observation: Column) -> Column:
    return F.unix_millis(observation.event_time)


def confirmed(observations: Column, since: Column, settings: HealthSettings) -> Column:
    """Those since `since` whose values are to be believed: none is extreme, others speak for it, or a second reading does."""
    def is_repeated(one: Column) -> Column:
        # The next of a device that reports once an hour comes later than `confirm_minutes`.
        within = F.greatest(F.lit(int(settings.confirm_minutes * 60_000)), one.gap_ms)
        return F.exists(observations, lambda other: (other.id != one.id)
                        & (F.abs(millis(other) - millis(one)) <= within) & (other.extreme.bitwiseAND(one.extreme) != 0))

    return F.filter(observations, lambda one: (millis(one) >= since) & (one.is_believable | is_repeated(one)))


def highest(observations: Column, score: Callable[[Column], Column], least: Column) -> Column:
    """Of the observation that scores highest, the latest of equals: also `missing`. Null where all scores are."""
    scored = F.filter(F.transform(observations, lambda one: F.struct(
        score(one).cast("double").alias("score"), one.event_time.alias("event_time"), one.id.alias("id"),
        one.missing.alias("missing"))), lambda one: one.score.isNotNull())

    def reached(scored: Column) -> Column:
        return F.array_min(F.transform(F.filter(scored, lambda one: one.score >= least), lambda one: one.event_time))

    def outcome(scored: Column, top: Column) -> Column:
        return F.struct(
            top.score.alias("score"), reached(scored).alias("reached"), F.array(top.id).alias("found"),
            top.missing.alias("missing"))

    return let(scored, lambda scored: let(
        F.array_max(scored), lambda top: F.when(top.isNotNull(), outcome(scored, top))))


def longest_run(observations: Column, since: Column, flag: str, least: Column) -> Column:
    """Of the longest unbroken run of readings with `flag` that lasts beyond `since`; score: minutes from first to last.

    Unbroken: each stands for its own `gap_ms`, and the next with the flag comes before all of them are over. So a reading
    that comes late, from whatever device, can only join runs. Null without two.
    """
    def step(run: Column, one: Column) -> Column:
        goes_on = run.until.isNotNull() & (millis(one) <= run.until)
        first = F.when(goes_on, run.first).otherwise(millis(one))
        ids = F.concat(F.when(goes_on, run.ids).otherwise(F.array().cast("array<string>")), F.array(one.id))
        minutes = (millis(one) - first) / 60_000
        longer = (millis(one) >= since) & (minutes > F.coalesce(run.score, F.lit(-1.0)))
        reached = F.when((millis(one) >= since) & (minutes >= least), millis(one))
        return F.struct(
            first.alias("first"), F.greatest(run.until, millis(one) + one.gap_ms).alias("until"), ids.alias("ids"),
            F.when(longer, minutes).otherwise(run.score).alias("score"),
            F.coalesce(run.reached, reached).alias("reached"),
            F.when(longer, ids).otherwise(run.found).alias("found"),
        ).cast(RUN)  # fmt: skip

    def outcome(run: Column) -> Column:
        return F.struct(run.score.alias("score"), F.timestamp_millis(run.reached).alias("reached"), run.found.alias("found"))

    return let(F.filter(observations, lambda one: one[flag]), lambda flagged: F.when(
        F.size(flagged) > 1, F.aggregate(flagged, F.lit(None).cast(RUN), step, outcome)))


def rise(observations: Column, window_start: Column, settings: HealthSettings) -> Column:
    """Of the hour whose NEWS2 lies highest above the lowest of the hours before it; also `level` it rose to and its `missing`.

    An hour stands with its n-th highest total against the n-th lowest of complete totals of the `cooldown_hours` before: with
    n of `hourly_readings`, a few false readings change neither. Null without enough of them.
    """
    hours, nth, least = settings.cooldown_hours, settings.hourly_readings - 1, threshold("deterioration_rise")
    first_hour = F.floor(window_start / 3_600_000)
    # Each once, though it came again and another version of the model scored it then.
    believed = F.array_distinct(F.transform(F.filter(observations, lambda one: one.is_believable), lambda one: F.struct(
        one.event_time.alias("event_time"), one.id.alias("id"), one.hour.alias("hour"), one.total.alias("total"),
        one.missing.alias("missing"))))
    by_hour = let(believed, lambda believed: F.transform(F.sequence(F.lit(0), F.lit(2 * hours - 1)), lambda hour: F.filter(
        believed, lambda one: one.hour - first_hour == hour)))
    levels = F.transform(by_hour, lambda readings: F.struct(
        F.get(F.sort_array(_totals(readings), asc=False), nth).alias("high"),
        F.get(F.sort_array(_totals(F.filter(readings, lambda one: one.missing == 0))), nth).alias("low"),
        readings.alias("readings")))

    def risen(levels: Column) -> Column:
        later = F.transform(F.slice(levels, hours + 1, hours), lambda level, number: F.struct(
            level.high.alias("level"), level.readings.alias("readings"),
            F.array_min(F.transform(F.slice(levels, number + 1, hours), lambda earlier: earlier.low)).alias("low")))
        return F.filter(F.transform(later, lambda one: F.struct(
            (one.level - one.low).cast("double").alias("rise"), one.level, one.low, one.readings)),
            lambda one: one.rise.isNotNull())

    def outcome(rises: Column, top: Column) -> Column:
        first = F.get(F.filter(rises, lambda one: one.rise >= least), 0)
        # When the n-th reading of the first such hour stood so high.
        reached = let(first, lambda first: F.get(F.transform(
            F.filter(first.readings, lambda one: one.total - first.low >= least), lambda one: one.event_time), nth))
        return let(F.filter(top.readings, lambda one: one.total >= top.level), lambda high: F.struct(
            top.rise.alias("score"), reached.alias("reached"), F.transform(high, lambda one: one.id).alias("found"),
            top.level.alias("level"), F.array_max(F.transform(high, lambda one: one.missing)).alias("missing")))

    found = let(levels, lambda levels: let(risen(levels), lambda rises: let(
        F.array_max(rises), lambda top: F.when(top.isNotNull(), outcome(rises, top)))))
    return F.when(F.exists(observations, lambda one: one.total >= least), found)


def artefact(observations: Column, since: Column, settings: HealthSettings) -> Column:
    """Of the lone reading that jumps furthest there and back while all else is still; also `parameter`. Null without any.

    score: the smaller of its two jumps as a multiple of what is credible for the parameter.
    """
    rest = F.greatest(F.size(observations) - 2, F.lit(0))
    triples = F.arrays_zip(F.slice(observations, 1, rest).alias("before"), F.slice(observations, 2, rest).alias("one"),
                           F.slice(observations, 3, rest).alias("after"))
    near = F.filter(triples, lambda triple: (triple.one.extreme != 0) & (millis(triple.after) >= since)
                    & (millis(triple.after) - millis(triple.before) <= settings.artefact_minutes * 60_000))
    jumps = F.transform(near, lambda triple: F.array_max(F.array(*[_jump(triple, name) for name, *_ in CREDIBLE])))

    def outcome(scored: Column, top: Column) -> Column:
        wide = F.filter(scored, lambda jump: jump.score >= threshold("artefact_jump"))
        reached = F.array_min(F.transform(wide, lambda jump: jump.known))
        return F.struct(
            top.score.alias("score"), reached.alias("reached"), F.array(top.id).alias("found"), top.parameter.alias("parameter"))

    found = let(F.filter(jumps, lambda jump: jump.score.isNotNull()), lambda scored: let(
        F.array_max(scored), lambda top: F.when(top.isNotNull(), outcome(scored, top))))
    return F.when(F.exists(observations, lambda one: one.extreme != 0), found)


def _totals(readings: Column) -> Column:
    return F.transform(readings, lambda one: one.total)


def _jump(triple: Column, parameter: str) -> Column:
    """The jump of one parameter there and back; score is null where it is not absurd, or another moved with it."""
    limits = {name: float(limit) for name, *_, limit in CREDIBLE}
    before, one, after = triple.before[parameter], triple.one[parameter], triple.after[parameter]
    there, back = one - before, one - after
    is_absurd = triple.one.extreme.bitwiseAND(1 << list(limits).index(parameter)) != 0
    moved = [F.coalesce(F.abs(triple.one[name] - (triple.before[name] + triple.after[name]) / 2) > limit / 3, F.lit(False))
             for name, limit in limits.items() if name != parameter]
    still = ~F.array_contains(F.array(*moved), True)
    jump = F.least(F.abs(there), F.abs(back)) / limits[parameter]
    is_lone = is_absurd & (there * back > 0) & (F.abs(before - after) <= limits[parameter] / 2) & still
    return F.struct(
        F.when(is_lone, jump).alias("score"), triple.after.event_time.alias("known"), triple.one.id.alias("id"),
        F.lit(parameter).alias("parameter"))
