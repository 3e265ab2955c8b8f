"""For tests of many queries over a handful of rows: the same plans, walked through instead of compiled.

Compiling takes seconds a query. What is compiled is tested over real data, in conformance, over the broker and under faults.
"""

import pytest

OPTIONS = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@pytest.fixture(scope="module")
def not_compiled(spark):
    for name, value in OPTIONS.items():
        spark.conf.set(name, value)
    yield
    for name in OPTIONS:
        spark.conf.unset(name)
