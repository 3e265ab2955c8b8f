"""What a valid event is: one definition, compiled for the stream and run as a suite over tables.

A vertical's contract is a tuple of great-expectations' own configuration dictionaries:

    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 0}}

`accepted` and `parse` apply it to Kafka records as native Spark expressions; `run_suite` hands the same dictionaries to
great-expectations over a table. A null meets every expectation but `expect_column_values_to_not_be_null`.
"""

from common.contract.expectations import ContractError, check_contract
from common.contract.gx_suite import Outcome, SuiteResult, run_suite
from common.contract.spark_parser import accepted, hidden, parse
from common.contract.times import HELD, TimeBounds, ingest_time, is_held

__all__ = [
    "HELD",
    "ContractError",
    "Outcome",
    "SuiteResult",
    "TimeBounds",
    "accepted",
    "check_contract",
    "hidden",
    "ingest_time",
    "is_held",
    "parse",
    "run_suite",
]
