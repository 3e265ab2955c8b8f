"""Provides what a Databricks notebook has when it starts, `spark` and `display`, to one that runs here."""

import atexit
import tempfile
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from common.spark.session import start_session


def display(frame: DataFrame) -> None:
    """Print the first rows as text."""
    frame.show(8, truncate=60)


def notebook_session() -> SparkSession:
    """The active Spark session, or a new one that ends with this process."""
    if session := SparkSession.getActiveSession():
        return session
    folder = tempfile.TemporaryDirectory(prefix="hybrid-notebook-")
    session = start_session("notebook", task_slots=4, folder=Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(session.stop)
    return session
