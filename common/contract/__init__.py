"""The contract, which says what a valid event is: one definition, compiled for Spark and Python, run as a suite over tables.

A vertical's contract is a tuple of great-expectations' own configuration dictionaries:

    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 0}}

`valid_events` and `parse` apply it to Kafka records as native Spark expressions; `run_suite` gives the same dictionaries to
great-expectations for a table. A null meets every expectation but `expect_column_values_to_not_be_null`.
"""

from common.contract.expectations import ContractError, check_contract
from common.contract.gx_suite import ExpectationOutcome, SuiteResult, run_suite
from common.contract.spark_parser import encrypt_record_part, parse, valid_events
from common.contract.times import STORABLE_YEARS, TimeBounds, ingest_time, is_storable

__all__ = [
    "STORABLE_YEARS",
    "ContractError",
    "ExpectationOutcome",
    "SuiteResult",
    "TimeBounds",
    "check_contract",
    "encrypt_record_part",
    "ingest_time",
    "is_storable",
    "parse",
    "run_suite",
    "valid_events",
]
