"""What columns, trends, topics and settings mean: the words of the pages that generate.py writes.

generate.py fails where a column, trend or topic of the code has no words here, and where words here are of nothing in the code.
"""

# Of every table that has the column, unless the table's own dictionary says more.
SHARED = {
    "event_id": "the event's id, its vertical's own",
    "event_time": "when it happened, by its producer (UTC, as all times)",
    "ingest_time": "when its record came in: Kafka's time of the record",
    "topic": "Kafka topic of the record",
    "kafka_partition": "partition of the record; -1: it came through no topic",
    "kafka_offset": "offset of the record; -1: an alert that batch added; of a backfilled event its number within the day",
    "event_day": "UTC day of event_time; the table's partition",
    "rule": "name of the rule",
    "entity_id": "the entity; a pseudonym where the vertical hides it",
    "baseline_version": "version that published the row; the table's partition",
    "status": "what the comparison found: see the text above",
}

COLUMNS = {
    "events": {},
    "quarantine": {
        "reason": "why the record is no valid event: one of the reasons above",
        "detail": "the same for people, with the field and the value; without the value where the field names a person",
        "raw": "the record's value, byte by byte; encrypted where the vertical names persons",
        "key": "the record's key, likewise",
        "kafka_partition": "partition of the record",
        "kafka_offset": "offset of the record",
        "ingest_day": "UTC day of ingest_time; the table's partition",
    },
    "labels": {
        "event_id": "the event that the label is about",
        "scenario": "the anomaly that it belongs to",
        "case_id": "which case of it: one injected anomaly's events share it",
        "event_time": "event time of that event",
        "known_time": "since when the label is known; batch learns nothing from it before",
    },
    "alerts": {
        "alert_id": "32 hexadecimal digits, a hash of vertical, rule and subject: updates of one alert share it",
        "vertical": "name of the vertical",
        "event_time": "event time of the newest event behind the alert; of a window that waits for its end, that end",
        "severity": "warning, minor, major, critical, or cleared: an alarm that is over",
        "score": "the rule's score",
        "threshold": "the threshold that the score reached",
        "reasons": "why, for people; 1,000 characters at most",
        "versions": "what it was judged by: baseline, model, and rules (a hash of source and settings, + published thresholds)",
        "event": "id of the event behind it, or a JSON array of ids, 100 KB at most",
        "ingest_time": "when the newest event behind it came in",
        "first_event_time": "event_time of its first update",
        "alert_time": "when Kafka got its newest update; less ingest_time that is how long judging took",
        "kafka_offset": "offset of the record; -1: added by batch, as the stream lost it to a late event",
    },
    "redriven": {
        "topic": "topic of the quarantined record, with the three columns below its identity",
        "kafka_partition": "its partition",
        "kafka_offset": "its offset",
        "ingest_time": "Kafka's time of it",
        "reason": "why it was in quarantine",
        "fix": "the fixes that were tried, null: none",
        "status": "sent, still invalid, or refused by Kafka",
        "refused_as": "reason for which it still breaks the contract",
        "sent_partition": "partition that it was sent to",
        "sent_offset": "offset that it got there",
        "redriven_at": "when",
    },
    "judged": {
        "query": "name of the query",
        "checkpoint": "id of the query's checkpoint; a new checkpoint judges the topic anew",
        "batch": "number of the batch; of merged rows the last",
        "kafka_partition": "partition of the events topic; null: the row says that the query was started",
        "start_offset": "first offset that was judged",
        "end_offset": "offset after the last one",
        "baseline_version": "version of the baselines in force",
        "model_version": "version of the model in force",
        "settings_version": "version of the published thresholds in force; empty: none",
        "watermark": "the query's watermark during the batch: an older event was late",
        "ended_at": "when the batch was reported as ended",
    },
    "reconciled": {
        "alert_id": "the alert, of stream or batch",
        "event_time": "event_time of the alert",
        "stream_score": "score that the stream stored; null: it has no such alert",
        "batch_score": "score that batch computed; null: it has no such alert",
        "late_seconds": "how far the latest event behind it was behind the watermark; null: none was late",
    },
    "reconciliations": {
        "reconciled_at": "when the comparison was made",
        "since": "only alerts from then on were compared; null: all",
        "alerts": "number of alerts of that rule and status",
    },
    "versions": {
        "kind": "baseline, model, challenger or settings; the newest row of a kind is in force",
        "version": "name of the version, as alerts and table judged have it",
        "as_of": "day at whose start it was learnt (of settings: on which it was published)",
        "created_at": "when it was published; it grows from row to row",
        "details": "JSON: of a model its structure, parameters and metrics; of settings the values, who and what; of "
        "baselines the tables",
    },
    "topics": {
        "name": "name of the topic",
        "cluster": "id of the Kafka cluster",
        "id": "id that Kafka gave the topic when it was made",
        "partitions": "its partitions then",
        "since": "time of its first record when it was noted",
        "noted_at": "when it was noted",
    },
    "shadow": {
        "kafka_partition": "partition of the newest event behind the row",
        "kafka_offset": "its offset",
        "ingest_time": "when it came in",
        "champion_version": "version of the model in force",
        "champion_score": "its score",
        "challenger_version": "version of the challenger",
        "challenger_score": "its score",
    },
    "backtest": {
        "alert_id": "the alert, of the present or the changed settings",
        "event_time": "event_time of the alert",
        "event": "ids of the events behind it, as in alerts",
        "is_right": "whether an event behind it has a label",
        "old_score": "score by the present settings; null: no such alert",
        "old_threshold": "threshold of the present settings",
        "old_severity": "severity by the present settings",
        "new_score": "score by the changed settings; null: no such alert",
        "new_threshold": "threshold of the changed settings",
        "new_severity": "severity by the changed settings",
        "changes": "the changes that were tried, name=value",
    },
    "batch_runs": {
        "started_at": "when the run began",
        "ended_at": "when it ended",
        "outcome": "what it did, or `failed: ...`, or `cut short`",
    },
    "finance_fraud.events": {
        "transaction_id": "id of the transaction",
        "card_id": "the card: the entity",
        "terminal_id": "terminal or online merchant",
        "amount": "amount, in units of currency",
        "currency": "ISO 4217 code",
        "channel": "chip, contactless, online or atm",
        "latitude": "where, degrees; null: online, or not known",
        "longitude": "where, degrees",
    },
    "finance_fraud.baselines_card": {
        "card_id": "the card",
        "card_count_1d": "transactions in the last day before as-of day",
        "card_count_7d": "transactions in 7 days",
        "card_count_30d": "transactions in 30 days",
        "card_amount_mean_1d": "mean amount of a day",
        "card_amount_mean_7d": "mean amount of 7 days",
        "card_amount_mean_30d": "mean amount of 30 days",
        "card_amount_std_1d": "standard deviation of amounts of a day",
        "card_amount_std_7d": "standard deviation of amounts of 7 days",
        "card_amount_std_30d": "standard deviation of amounts of 30 days",
        "card_amount_median_30d": "median amount of 30 days",
        "card_log_amount_mean_30d": "mean of the amounts' logarithms, 30 days",
        "card_log_amount_std_30d": "standard deviation of the amounts' logarithms, 30 days",
        "card_home_latitude": "median latitude of 30 days, degrees",
        "card_home_longitude": "median longitude of 30 days, degrees",
        "card_max_distance_km_30d": "farthest that the card was from there in 30 days, km",
        "card_terminals_30d": "terminals that it used in 30 days",
    },
    "finance_fraud.baselines_terminal": {
        "terminal_id": "the terminal",
        "terminal_count_1d": "transactions in a day that ended 7 days before as-of day, when labels are due",
        "terminal_count_7d": "transactions in 7 days that ended then",
        "terminal_count_30d": "transactions in 30 days that ended then",
        "terminal_fraud_count_1d": "those of the day that are known to be fraud",
        "terminal_fraud_count_7d": "those of the 7 days",
        "terminal_fraud_count_30d": "those of the 30 days",
        "terminal_risk_1d": "share of frauds, of the day",
        "terminal_risk_7d": "share of frauds, of the 7 days",
        "terminal_risk_30d": "share of frauds, of the 30 days",
    },
    "retail_behavior.events": {
        "visitor_id": "who acts: the entity; of a restock the store",
        "session_id": "the visit or order",
        "event_type": "view, add_to_cart, remove_from_cart, purchase or restock",
        "product_id": "the product",
        "store_id": "shop or warehouse that the goods come from",
        "quantity": "units",
        "price": "price of a unit, currency units",
        "channel": "how the session began: direct, search, email, social or ads",
        "stock_on_hand": "units counted after a restock",
    },
    "retail_behavior.baselines_product": {
        "product_id": "the product",
        "forecast_units_7d": "units expected in the 7 days from as-of day",
        "forecast_low_7d": "lower end of that forecast's interval",
        "forecast_high_7d": "upper end",
        "units_by_hour": "units expected in each of the week's 168 hours, Monday 0:00 UTC first",
        "orders_by_hour": "orders expected, likewise",
        "stock_as_of": "when the day began that stock is counted to",
        "stock_by_store": "per store: stock on hand, units a day, variance over mean, reorder point, and up to what to order",
        "recommended": "products that go with it, best first",
    },
    "retail_behavior.baselines_visitor": {
        "visitor_id": "the visitor",
        "visitor_sessions_30d": "sessions in 30 days",
        "visitor_buying_sessions_30d": "those with a purchase",
        "visitor_spend_30d": "money spent in 30 days, currency units",
    },
    "health_monitoring.events": {
        "observation_id": "id of the observation set",
        "patient_id": "the patient, as pseudonym: the entity",
        "ward": "ward",
        "device_id": "the device",
        "heart_rate_bpm": "heart rate, beats per minute",
        "respiratory_rate_per_min": "breaths per minute",
        "spo2_percent": "oxygen saturation by pulse oximetry, %",
        "systolic_mmhg": "systolic blood pressure, mmHg",
        "diastolic_mmhg": "diastolic blood pressure, mmHg",
        "temperature_c": "body temperature, degrees Celsius",
        "oxygen_flow_l_per_min": "inhaled oxygen, litres per minute",
        "fio2": "inspired fraction of oxygen, 0.2 to 1",
        "consciousness": "A alert, C new confusion, V responds to voice, P to pain, U unresponsive",
        "on_oxygen": "whether oxygen is given",
        "spo2_scale": "NEWS2's saturation scale, 1 or 2; null: 1",
        "sampling_minutes": "how often the device reports, minutes",
        "battery_percent": "the device's battery, %",
        "monitoring": "active, or ended on purpose; null: active",
    },
    "health_monitoring.baselines_patient": {
        "patient_id": "the patient, as pseudonym",
        "patient_observations": "observations in the three whole days before as-of day",
        "patient_heart_rate_mean": "mean heart rate of these days, beats per minute",
        "patient_heart_rate_std": "its standard deviation",
        "patient_respiratory_rate_mean": "mean respiratory rate, per minute",
        "patient_respiratory_rate_std": "its standard deviation",
        "patient_spo2_mean": "mean saturation, %",
        "patient_spo2_std": "its standard deviation",
        "patient_systolic_mean": "mean systolic blood pressure, mmHg",
        "patient_systolic_std": "its standard deviation",
        "patient_temperature_mean": "mean temperature, degrees Celsius",
        "patient_temperature_std": "its standard deviation",
    },
    "telecom_anomaly.events": {
        "report_id": "id of the report",
        "cell_id": "the cell: the entity",
        "site_id": "its site",
        "event_time": "end of the 15 minutes that the report is of",
        "region": "region",
        "technology": "LTE or NR",
        "suspect_flag": "the report may be wrong, as during planned work",
        "DRB_UEThpDl": "downlink throughput of a user",
        "DRB_UEThpUl": "uplink throughput of a user",
        "DRB_RlcSduDelayDl": "downlink delay",
        "DRB_RlcPacketDropRateDl": "share of downlink packets dropped",
        "DRB_PacketLossRateUl": "share of uplink packets lost",
        "DRB_RelActNbr": "sessions dropped while active",
        "RRC_ConnEstabAtt": "attempts to connect",
        "RRC_ConnEstabSucc": "attempts that succeeded",
        "RRC_ConnMean": "connected users, mean",
        "RRU_PrbTotDl": "share of physical resource blocks in use",
        "RRU_CellUnavailableTime": "time without service",
    },
    "telecom_anomaly.baselines_cell": {
        "cell_id": "the cell",
        **{
            f"{metric}_{statistic}": f"{words} of the {measurement}'s logarithm, for each of the week's 168 hours, Monday "
            f"0:00 UTC first"
            for metric, measurement in (
                ("attempts", "attempts"), ("delay", "delay"), ("loss", "uplink loss"), ("drops", "drop rate"),
                ("speed", "throughput"), ("prb", "load"))
            for statistic, words in (("median", "median"), ("spread", "robust spread"))
        },
        "known_values": "reports behind each hour",
        "refused_share": "share of attempts that did not succeed",
        "speed_empty": "throughput of the empty cell, of a line over load in the older three weeks, kbit/s",
        "speed_slope": "that line's change per % of load",
        "speed_residual": "logarithm of the throughput over that line since, smoothed over days",
        "site_cells": "cells of its site that reported in the last week",
    },
}  # fmt: skip

# Made by a query, with no schema in the code: (column, type), kept here by hand.
MADE_BY_QUERIES = {
    "reconciled": (
        ("alert_id", "string"), ("rule", "string"), ("entity_id", "string"), ("event_time", "timestamp"),
        ("stream_score", "double"), ("batch_score", "double"), ("late_seconds", "double"), ("status", "string"),
    ),
    "backtest": (
        ("alert_id", "string"), ("rule", "string"), ("entity_id", "string"), ("event_time", "timestamp"), ("event", "string"),
        ("status", "string"), ("is_right", "boolean"), ("old_score", "double"), ("old_threshold", "double"),
        ("old_severity", "string"), ("new_score", "double"), ("new_threshold", "double"), ("new_severity", "string"),
        ("changes", "string"),
    ),
}  # fmt: skip

TABLES = {
    "events": "Valid events, each once, by UTC day. Columns of the vertical, then those below.",
    "quarantine": "Records that are no valid event, label or alert, by the day on which they came in.",
    "labels": "Ground truth: which events belong to an anomaly. Rules never read it.",
    "alerts": "Alerts, each once, its newest update, by UTC day.",
    "redriven": "What `hybrid redrive` tried with records of quarantine; a row per record and try.",
    "judged": "Lineage: which versions judged which offsets, a row per query, partition and range of offsets, merged from "
    "time to time.",
    "reconciled": "The last comparison of stream and history, a row per alert; written anew each time. Statuses: equal, late, "
    "score_differs, missing, extra, repeated_id, judged_twice ([what they mean](../explanation/reconcile.md)).",
    "reconciliations": "Counts of every comparison, so that agreement can be followed over time.",
    "versions": "Publications: a row puts baselines, a model, a challenger or thresholds in force.",
    "topics": "Which topics had a name, one after the other: offsets of an earlier one say nothing of the present one.",
    "shadow": "Scores of champion and challenger on the same events, while there is a challenger.",
    "backtest": "The last trial of changed thresholds on history, a row per alert; written anew each time. Status: kept, "
    "added or removed.",
    "batch_runs": "Scheduled batch runs of `hybrid serve`.",
}  # fmt: skip

REASONS = {
    "undecodable": "the value is not UTF-8",
    "malformed_json": "the value is not one JSON object",
    "wrong_type": "a field has another type",
    "duplicate_field": "a field's name is there twice",
    "unknown_field": "a field that the schema does not know",
    "not_finite": "a number is not finite",
    "missing_field": "a required field is null or not there",
    "out_of_range": "a value lies outside its bounds, or a time outside what every reader can hold",
    "not_in_set": "a value is none of those that may be",
    "bad_format": "a text has another form or length",
    "future_event_time": "it happened after it came in, beyond the tolerance",
    "too_old": "it is older than `HYBRID_EVENT_AGE_DAYS`",
    "duplicate": "another event came before it under its id and day",
    "untranslatable": "no event can be made of the document: intake and gateway",
    "unreadable": "a label or alert lacks a required field",
}  # fmt: skip

TRENDS = {
    "finance_fraud": {
        "fraud_by_scenario": "known frauds and loss by day and scenario",
        "fraud_by_channel": "the same by channel",
        "fraud_by_terminal": "the same by terminal, those with any",
        "top_movers": "cards whose spending of a week moved most",
        "drift": "population stability index of the model's features, last week against the week before",
        "alerts_by_rule": "alerts by day and rule",
    },
    "retail_behavior": {
        "funnel": "sessions by day and step",
        "abandonment": "carts left behind",
        "segments": "customers by recency, frequency and money",
        "demand_forecast": "units expected in the next week, with interval",
        "forecast_backtest": "error of the forecast beside its yardsticks",
        "stock_policy": "reorder point, order quantity, nominal and realised service by product",
        "recommendations": "what goes with each product",
        "alerts_by_rule": "alerts by day and rule",
    },
    "health_monitoring": {
        "wards": "patients, observations and NEWS2 by day and ward",
        "cohorts": "the same by saturation scale and oxygen",
        "risk_bands": "observations by day and clinical risk",
        "slopes": "patients whose values move most in two weeks",
        "alarms": "alarms by day and rule, per patient-day",
        "drift": "population stability index of the model's features",
        "calibration": "risk that the model expected, and share that came",
    },
    "telecom_anomaly": {
        "availability_by_region": "availability by day and region",
        "worst_cells": "cells of the last week by what customers feel",
        "faults_by_scenario": "labelled faults by day",
        "alerts_by_rule": "alerts by day and rule",
        "busy_hour": "busiest hour of each cell and day",
        "busy_hour_by_region": "its load by day and region",
        "forecast_judged": "error of the load forecast beside its yardsticks, on a week held back",
        "forecast": "next week's load by cell and hour, with interval",
        "capacity": "when a cell is full, and what it then needs",
    },
}  # fmt: skip

OWN_TOPICS = {
    "retail_behavior.intents": "at each event of a running session the probability that it ends in a purchase",
    "retail_behavior.recommendations": "what goes with each product that is viewed or bought",
    "health_monitoring.news2": "NEWS2 of each observation, with the points of each parameter",
}

# More of a core setting than its description says.
SETTINGS = {
    "partitions": "Of topics that are there already queries take the partitions that they have.",
    "replication": "From three on a record is acknowledged once all replicas but one have it (`min.insync.replicas`).",
    "kafka_sasl_password": "It is never printed.",
    "pseudonym_key": "Make one with `openssl rand -base64 32`. It hashes what names a person; with another key the same "
    "person gets another "
    "pseudonym. Set it where the key is not to lie with the data; without it, it is `pseudonym.key` in the data folder.",
    "pseudonym_former_keys": "What they encrypted can be read, and nothing is written with them "
    "([persons](../explanation/contract-and-archive.md#persons)). Files `pseudonym-*.key` in the data folder count as well.",
    "driver_memory": "Without a cluster this is all of Spark. The baselines of a large world need more: 6g did for 60,000 cells.",
    "checkpoint_interval": "Not its latency. At each checkpoint the query pauses for about a second and takes up new "
    "thresholds, baselines "
    "and models; after a kill it judges again what came since the last ([why five "
    "minutes](../decisions/003-checkpoint-interval.md)).",
    "future_tolerance": "By the broker's clock, or, where a topic has its producers' timestamps, by that of the one who judges "
    "([when an event came in](../explanation/contract-and-archive.md#when-an-event-came-in)).",
    "event_age_days": "An older event goes to quarantine as `too_old`. Set it, as to 365, where what comes in is of today: "
    "simulated and "
    "replayed events are of another time. Give every command the same: `archive`, `detect` and the gateway each judge by it.",
    "delivery_timeout": "After that they say what was not delivered and end with status 1.",
    "gateway_body_megabytes": "The body as it comes has the same limit.",
    "gateway_rate": "A client is a token, or an address where none is needed. Each 1,000 bytes of a request count as an event "
    "at least.",
    "gateway_pages": "Begun streams count as pages.",
    "gateway_connections": "As many again may be open of clients that have asked for nothing yet.",
    "gateway_open": "The option `--open`, and only as long as there never was a token ([who may](../gateway.md#who-may)).",
    "vacuum_hours": "Of `events`, `quarantine`, `labels` and `alerts` while the archive runs, of `judged` while detection "
    "runs (after a day at the "
    "latest), of every table after each batch run of `serve` and at the end of `hybrid trends`. Files that killed writes left "
    "go with the latter "
    "at this age, but not before a day.",
}  # fmt: skip
