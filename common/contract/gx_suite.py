"""The contract as a great-expectations suite over a table, with Data Docs for people.

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
class Outcome:
    """One expectation over the whole table; `unexpected` is the number of rows that fail it."""

    expectation: str
    success: bool
    unexpected: int


@dataclass(frozen=True)
class SuiteResult:
    """What a suite found: `rows` looked at, an outcome per expectation, and the Data Docs' first page."""

    success: bool
    rows: int
    outcomes: tuple[Outcome, ...]
    docs: Path


def run_suite(events: DataFrame, vertical: Vertical, docs: Path) -> SuiteResult:
    """Run the contract over a table (never a stream); writes Data Docs below the folder `docs`, and nothing elsewhere."""
    docs = docs.absolute()
    docs.mkdir(parents=True, exist_ok=True)
    context = _context(docs)
    result = validate(context, events, vertical)
    context.build_data_docs()
    close_pages(docs)
    outcomes = tuple(_outcome(one) for one in sorted(result.results, key=lambda one: one.expectation_config.meta["number"]))
    return SuiteResult(bool(result.success), events.count(), outcomes, docs / "index.html")


def validate(context: Any, events: DataFrame, vertical: Vertical, result_format: Any = "SUMMARY") -> Any:
    """great-expectations' own result of the contract over `events`."""
    import great_expectations as gx

    expectations = [
        {"type": e.type, "kwargs": dict(e.kwargs), "meta": {"number": number, "as_written": str(e)}}
        for number, e in enumerate(check_contract(vertical.event_schema, vertical.contract))
    ]
    # Kept in memory the whole table would compete with the streams.
    source = context.data_sources.add_spark(vertical.name, persist=False)
    whole = source.add_dataframe_asset("events").add_batch_definition_whole_dataframe("table")
    suite = gx.ExpectationSuite(f"{vertical.name} contract", expectations=expectations)
    definition = gx.ValidationDefinition(name=f"{vertical.name} contract", data=whole, suite=context.suites.add(suite))
    definition = context.validation_definitions.add(definition)
    return definition.run(batch_parameters={"dataframe": events}, result_format=result_format)


def _context(docs: Path) -> Any:
    # Read at import: nothing is to call out.
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


def _outcome(one: Any) -> Outcome:
    name = str(one.expectation_config.meta["as_written"])
    if "unexpected_count" not in one.result:  # null when there was nothing to look at
        raise RuntimeError(f"{name} could not be run over the table: {one.exception_info}")
    return Outcome(name, bool(one.success), int(one.result["unexpected_count"] or 0))
