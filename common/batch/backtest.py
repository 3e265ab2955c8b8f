"""Judges past days as a stream would have then: each day with the baselines of its start.

The model is trained as of the first day, on labels known by then, as `hybrid train` would have done that morning.
"""

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.closed_windows import only_closed
from common.models.protocol import Protocol, point_in_time_features, with_labels
from common.models.training import TrainedModel, train
from common.published.reference_data import MODEL_SCHEMA, ReferenceData, prepare_rows, with_model
from common.vertical import Query, Vertical


def backtest(
    vertical: Vertical, events: DataFrame, labels: DataFrame, days: list[date], *rule_settings: object
) -> list[DataFrame]:
    """For each of `rule_settings` the alerts that all rules raise on the events of `days`, from a longer history.

    days: whole UTC days, in order. Windows that a stream would still have open at the end raise nothing. Raises
    common.models.training.TrainingRefused where the history is too short to train the vertical's model.
    """
    model = _train_as_of(vertical, events, labels, days[0])
    baselines = {name: rows.persist() for name, rows in vertical.learn(events, labels, days).items()}
    tested_events = of_days(vertical, events, days)

    def alerts(settings: object) -> DataFrame:
        alerts_by_query = []
        for query in vertical.queries:
            if query.raises_alerts:
                query_alerts = query.build(_rows(vertical, query, tested_events, baselines, model, settings), settings)
                alerts_by_query.append(only_closed(query, query_alerts, tested_events, settings))
        return reduce(DataFrame.unionByName, alerts_by_query)

    return [alerts(settings) for settings in rule_settings]


def of_days(vertical: Vertical, events: DataFrame, days: list[date]) -> DataFrame:
    """The events of whole UTC days that follow each other."""
    start, end = F.lit(days[0]).cast("timestamp"), F.lit(days[-1] + timedelta(days=1)).cast("timestamp")
    return events.where((F.col(vertical.event_time) >= start) & (F.col(vertical.event_time) < end))


def _train_as_of(vertical: Vertical, events: DataFrame, labels: DataFrame, as_of: date) -> TrainedModel | None:
    if vertical.model is None:
        return None
    protocol, start = Protocol(as_of, delay_days=vertical.label_delay.days), F.lit(as_of).cast("timestamp")
    past_events, known_labels = events.where(F.col(vertical.event_time) < start), labels.where(F.col("known_time") <= start)
    features = point_in_time_features(vertical, past_events, known_labels, protocol.training_dates())
    rows = with_labels(vertical, past_events, features, known_labels)
    return train(rows, vertical.model.features, vertical.model.fit, tolerance=vertical.model.tolerance)


def _rows(
    vertical: Vertical,
    query: Query,
    events: DataFrame,
    baselines: dict[str, DataFrame],
    model: TrainedModel | None,
    rule_settings: object,
) -> DataFrame:
    """The rows from which `query` builds its alerts, as `join_reference_data` makes them on the stream."""
    rows = events.withColumn("as_of", F.to_date(vertical.event_time))
    for name in query.baselines:
        rows = rows.join(baselines[name], [vertical.baselines[name].key, "as_of"], "left")
    rows = prepare_rows(rows.withColumn("baseline_version", F.col("as_of").cast("string")), query, rule_settings)
    model_rows = [(model.version, list(model.parameters))] if model else []
    data = ReferenceData({}, rows.sparkSession.createDataFrame(model_rows, MODEL_SCHEMA), model)
    return with_model(rows, data, vertical, query)
