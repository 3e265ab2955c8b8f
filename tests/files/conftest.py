"""How Spark runs in the layer over files: the same plans, walked through instead of compiled.

Compiling takes seconds a query, most of the layer's time, for a handful of rows. What is compiled is tested in conformance,
over the broker and under faults.
"""

import pytest


@pytest.fixture(scope="package", autouse=True)
def not_compiled(spark):
    options = ("spark.sql.codegen.wholeStage", "false"), ("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    for name, value in options:
        spark.conf.set(name, value)
    yield
    for name, _ in options:
        spark.conf.unset(name)
