"""Scores a folder of metric series with the online detector, record by record, with one threshold for all.

    python -m telecom_anomaly.studies.nab FOLDER RESULTS

FOLDER: any tree of csv files with columns `timestamp` (ISO-8601, or seconds since the epoch) and `value`. RESULTS gets the
same tree, with a third column `anomaly_score`, row by row. A score of ONLINE_THRESHOLD or more is an alarm.
"""

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

from common.models.online_detector import OnlineDetector
from telecom_anomaly.settings import ONLINE_THRESHOLD


def scores(series: Path) -> list[tuple[str, str, float]]:
    """timestamp and value of each row as they stand in the file, and its score."""
    detector = OnlineDetector(ONLINE_THRESHOLD)
    with series.open(newline="") as lines:
        rows = [(row["timestamp"], row["value"]) for row in csv.DictReader(lines)]
    with_scores = []
    for time, value in rows:
        with_scores.append((time, value, detector.score_one(seconds(time), float(value))))
        detector.learn_one(seconds(time), float(value))
    return with_scores


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of an ISO-8601 time, UTC where it has no zone; a number is taken as seconds already."""
    try:
        return float(timestamp)
    except ValueError:
        time = datetime.fromisoformat(timestamp)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def main(folder: str, results: str) -> int:
    """Writes the tree of RESULTS; returns the number of series."""
    files = sorted(Path(folder).rglob("*.csv"))
    for series in files:
        target = Path(results) / series.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(["timestamp", "value", "anomaly_score"])
            writer.writerows((time, value, f"{score:.6f}") for time, value, score in scores(series))
    return len(files)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m telecom_anomaly.studies.nab FOLDER RESULTS")
    count = main(*sys.argv[1:])
    sys.stdout.write(f"{count} series scored; an alarm is a score of {ONLINE_THRESHOLD} or more\n")
