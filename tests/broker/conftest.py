"""One embedded broker for the tests that share it; a topic of its own name for each test that asks."""

from uuid import uuid4

import pytest

from common.embedded.kafka import EmbeddedKafka
from common.ingestion.connection import Connection


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The connection to a broker that all tests of the session share."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), partitions=2) as kafka:
        yield Connection(kafka.bootstrap_servers)


@pytest.fixture
def vertical_name():
    """A vertical's name that no other test uses, so that its topics are this test's alone."""
    return f"test_{uuid4().hex[:8]}"
