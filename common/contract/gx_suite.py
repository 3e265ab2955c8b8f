"""Runs the contract as a great-expectations suite over a table, and writes Data Docs for people.

great-expectations takes seconds to import and does not run on a stream: this is for the batch job.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from common.contract.data_docs import close_pages
from common.contract.expectations import check_contract
from common.vertical import Vertical


@dataclass(frozen=True)
class ExpectationOutcome:
    """The result of one expectation over the whole table; `unexpected` is the number of rows that fail it."""

    expectation: str
    success: bool
    unexpected: int


@dataclass(frozen=True)
class SuiteResult:
    """A suite's result: the number of rows, an outcome for each expectation, and the Data Docs' first page."""

    success: bool
    rows: int
    outcomes: tuple[ExpectationOutcome, ...]
    docs: Path


def run_suite(events: DataFrame, vertical: Vertical, docs: Path) -> SuiteResult:
    """Run the contract over a table (never a stream); writes Data Docs into the folder `docs`, and nothing elsewhere."""
    docs = docs.absolute()
    docs.mkdir(parents=True, exist_ok=True)
    context = _context(docs)
    result = validate(context, events, vertical)
    context.build_data_docs()
    close_pages(docs)
    results = sorted(result.results, key=lambda result: result.expectation_config.meta["number"])
    outcomes = tuple(_outcome_of(result) for result in results)
    return SuiteResult(bool(result.success), events.count(), outcomes, docs / "index.html")


def validate(context: Any, events: DataFrame, vertical: Vertical, result_format: Any = "SUMMARY") -> Any:
    """great-expectations' own result of the contract over `events`."""
    import great_expectations as gx

    expectations = [
        {
            "type": expectation.type,
            "kwargs": dict(expectation.kwargs),
            "meta": {"number": number, "as_written": str(expectation)},
        }
        for number, expectation in enumerate(check_contract(vertical.event_schema, vertical.contract))
    ]
    # With persist the whole table would be kept in memory, and compete with the streams.
    source = context.data_sources.add_spark(vertical.name, persist=False)
    whole_table = source.add_dataframe_asset("events").add_batch_definition_whole_dataframe("table")
    suite = gx.ExpectationSuite(f"{vertical.name} contract", expectations=expectations)
    definition = gx.ValidationDefinition(name=f"{vertical.name} contract", data=whole_table, suite=context.suites.add(suite))
    definition = context.validation_definitions.add(definition)
    return definition.run(batch_parameters={"dataframe": events}, result_format=result_format)


def _context(docs: Path) -> Any:
    # great-expectations reads this at import, and would otherwise report its use over the network.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={"contract": site},
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _outcome_of(result: Any) -> ExpectationOutcome:
    name = str(result.expectation_config.meta["as_written"])
    if "unexpected_count" not in result.result:  # it is there, and null, for a table without rows
        raise RuntimeError(f"{name} could not be run over the table: {result.exception_info}")
    return ExpectationOutcome(name, bool(result.success), int(result.result["unexpected_count"] or 0))
