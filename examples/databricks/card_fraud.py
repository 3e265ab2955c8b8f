# Databricks notebook source
# MAGIC %md
# MAGIC # Card fraud: one query, from top to bottom
# MAGIC
# MAGIC The rules of `finance_fraud` that judge each transaction by itself, on 40 simulated days: history, what is learnt from
# MAGIC it, the query as a batch job and as a stream, and what it was worth. Everything is imported from the project: install
# MAGIC its wheel on the cluster (`%pip install hybrid_data_engineering-...whl`), or run this file where the project is:
# MAGIC `python -m examples.databricks`.

# COMMAND ----------

from datetime import date, timedelta
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.published.reference_data import MODEL_SCHEMA, ReferenceData, join_reference_data
from common.settings import load
from finance_fraud import VERTICAL

try:
    spark, display  # noqa: B018  Databricks has both
except NameError:
    from examples.databricks.notebook import display, notebook_session

    spark = notebook_session()

# COMMAND ----------

# MAGIC %md
# MAGIC ## A history with a known truth
# MAGIC A generator makes transactions and, apart from them, labels: which of them are fraud, and by which scheme. No rule
# MAGIC sees a label.

# COMMAND ----------

FIRST_DAY, DAYS = date(2026, 1, 1), 40
world = VERTICAL.population(cards=300, terminals=100, fraud=3.0)
days = [VERTICAL.generate_day(1, FIRST_DAY + timedelta(days=number), world) for number in range(DAYS)]
kafka_columns = {"ingest_time": F.col("event_time"), "kafka_partition": F.lit(-1), "kafka_offset": F.lit(-1).cast("long")}
events = spark.createDataFrame(pa.concat_tables(day.events for day in days)).withColumns(kafka_columns).persist()
labels = spark.createDataFrame(pa.concat_tables(day.labels for day in days)).persist()
display(events.select("event_time", "card_id", "terminal_id", "amount", "channel"))
display(labels.groupBy("scenario").count().orderBy("scenario"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## What batch learns
# MAGIC Habits of each card and terminal as of a day: from what came before it, and from labels that were known by then (fraud
# MAGIC is known a week later). On the project's own tables `hybrid trends` does it every night.

# COMMAND ----------

AS_OF = FIRST_DAY + timedelta(days=35)
baselines = {
    name: rows.withColumn("baseline_version", F.lit(AS_OF.isoformat())).persist()
    for name, rows in VERTICAL.learn(events, labels, [AS_OF]).items()
}
display(baselines["card"].select("card_id", "card_count_30d", "card_amount_mean_30d", "card_max_distance_km_30d"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The query
# MAGIC `per_event`: a transaction, joined with what was learnt of its card and terminal; each rule gives a score and a
# MAGIC threshold, and what reaches it is an alert with its reason. It is a function of a DataFrame, the same for a table and
# MAGIC for a stream.

# COMMAND ----------

[per_event] = [query for query in VERTICAL.queries if query.name == "per_event"]
rules = load(VERTICAL.settings)
no_model = ReferenceData(baselines, spark.createDataFrame([], MODEL_SCHEMA))


def alerts_of(transactions: DataFrame) -> DataFrame:
    """Alerts of the query's rules, without that of the model: there is none yet."""
    return per_event.build(join_reference_data(transactions, no_model, VERTICAL, per_event, rules), rules)


newest_transactions = events.where(F.col("event_time") >= F.lit(AS_OF))
batch_alerts = alerts_of(newest_transactions).persist()
display(batch_alerts.select("event_time", "rule", "severity", "entity_id", "reasons").orderBy("event_time"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The same as a stream
# MAGIC The five days after, written to files and read as a stream. On Kafka, with `.trigger(realTime="5 minutes")`, an alert
# MAGIC comes milliseconds after its transaction; here micro-batches do, and end when all files are read.

# COMMAND ----------

files = TemporaryDirectory(prefix="card-fraud-")
folder = files.name
newest_transactions.repartition(4).write.parquet(f"{folder}/transactions")
transaction_stream = (
    spark.readStream.schema(newest_transactions.schema).option("maxFilesPerTrigger", 1).parquet(f"{folder}/transactions")
)
stream_query = (
    alerts_of(transaction_stream)
    .writeStream.format("memory")
    .queryName("stream_alerts")
    .outputMode("append")
    .option("checkpointLocation", f"{folder}/checkpoint")
    .trigger(availableNow=True)
    .start()
)
stream_query.awaitTermination()
stream_alerts = spark.table("stream_alerts")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Stream and history agree
# MAGIC Alert by alert: the same ids, the same scores.

# COMMAND ----------

ids = ["alert_id", "score"]
only_in_batch = batch_alerts.select(*ids).exceptAll(stream_alerts.select(*ids)).count()
only_in_stream = stream_alerts.select(*ids).exceptAll(batch_alerts.select(*ids)).count()
print(
    f"{batch_alerts.count()} alerts in batch, {stream_alerts.count()} in the stream; "
    f"{only_in_batch} only in batch, {only_in_stream} only in the stream"
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What the rules were worth
# MAGIC Against the labels, which no rule reads: how many of each rule's alerts were right, and what share of each
# MAGIC scheme's transactions raised one. Single transactions only: bursts, sprees and journeys are for the queries with
# MAGIC windows (`by_card`, `by_terminal`).

# COMMAND ----------

frauds = labels.select("event_id", "scenario")
labelled_alerts = batch_alerts.withColumn("event_id", F.col("event")).join(frauds, "event_id", "left")
precision = labelled_alerts.groupBy("rule").agg(
    F.count("*").alias("alerts"), F.count("scenario").alias("right"), (F.count("scenario") / F.count("*")).alias("precision")
)
true_alerts = labelled_alerts.where("scenario is not null").select("event_id").distinct().withColumn("is_found", F.lit(1))
newest_ids = newest_transactions.select(F.col("transaction_id").alias("event_id"))
newest_frauds = frauds.join(newest_ids, "event_id").join(true_alerts, "event_id", "left")
recall = newest_frauds.groupBy("scenario").agg(F.count("*").alias("transactions"), F.count("is_found").alias("found"))
display(precision.orderBy("rule"))
display(recall.orderBy("scenario"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## On Databricks
# MAGIC Not run: what follows is from its documentation. Real-time mode needs classic compute of DBR 16.4 LTS or later with
# MAGIC dedicated access, without autoscaling, Photon and spot machines, and
# MAGIC `spark.databricks.streaming.realTimeMode.enabled=true`. The tables are Delta tables: a volume takes the place of the
# MAGIC data folder. `examples/databricks/README.md` lists what differs.
