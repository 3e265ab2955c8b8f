"""What OpenAPI promises holds: schemathesis looks for requests, right and wrong, that end in a 500 or in what it does not say."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from common.contract.python_parser import PythonContract, ValidEvent
from common.gateway.openapi import example_events
from common.installed import find_vertical, vertical_names


@pytest.mark.parametrize("name", vertical_names())
def test_the_examples_of_every_vertical_meet_its_contract(name):
    vertical = find_vertical(name)
    contract = PythonContract(vertical)
    latest = datetime.now(UTC) + timedelta(minutes=5)
    for example in example_events(vertical):
        assert isinstance(contract.validate(json.dumps(example).encode(), latest), ValidEvent)


def test_no_request_that_openapi_allows_or_forbids_ends_in_a_500(gateway):
    status, document, _ = gateway.ask("GET", "/openapi.json")
    assert status == 200
    for name in vertical_names():
        assert document["paths"][f"/v1/{name}/events"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    # Its own times are of all kinds that RFC 3339 knows, and so seldom of the pattern that goes with them.
    schemathesis.openapi.format("date-time", st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%S}Z".zfill(20)))
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{gateway.port}")
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    asked = 0
    for operation in schema.get_all_operations():
        operation = operation.ok()
        if operation.path.endswith("/stream"):
            continue  # it has no end

        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case):
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=checks, timeout=30)

        takes_something = operation.body or operation.query or operation.headers
        for mode in schemathesis.GenerationMode if takes_something else [schemathesis.GenerationMode.POSITIVE]:
            given(case=operation.as_strategy(generation_mode=mode))(ask)()
    assert asked > 60
