"""The compiled contract and great-expectations find the same rows."""

import random
import re
from datetime import datetime
from functools import reduce
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.contract import check_contract, run_suite
from common.contract.gx_suite import _context, validate

pytestmark = pytest.mark.files

TYPES = {"id": "string", "x": "double", "n": "long", "s": "string", "ok": "boolean", "a": "timestamp", "b": "timestamp",
         "p": "double", "q": "double"}  # fmt: skip
SCHEMA = reduce(lambda schema, name: schema.add(name, TYPES[name]), TYPES, T.StructType())


def expect(name, **kwargs):
    return {"type": f"expect_column_{name}", "kwargs": kwargs}


CONTRACT = (
    *(expect("values_to_not_be_null", column=column) for column in ("x", "s", "a")),
    expect("values_to_be_between", column="x", min_value=0, max_value=10),
    expect("values_to_be_between", column="x", min_value=0, strict_min=True),
    expect("values_to_be_between", column="n", min_value=0.5, max_value=3, strict_max=True),
    expect("values_to_be_between", column="a", min_value="2026-01-01T00:00:00Z", strict_min=True),
    expect("values_to_be_between", column="a", max_value="2026-01-03T01:00:00+01:00", strict_max=True),
    expect("values_to_be_in_set", column="s", value_set=["u", "v"]),
    expect("values_to_be_in_set", column="n", value_set=[1, 2]),
    expect("values_to_be_in_set", column="ok", value_set=[True]),
    expect("values_to_match_regex", column="s", regex="^u"),
    expect("values_to_match_regex", column="s", regex="v$"),
    expect("value_lengths_to_be_between", column="s", min_value=1, max_value=2, strict_max=True),
    expect("pair_values_a_to_be_greater_than_b", column_A="a", column_B="b"),
    expect("pair_values_a_to_be_greater_than_b", column_A="p", column_B="q", or_equal=True),
    expect("pair_values_a_to_be_greater_than_b", column_A="p", column_B="q", ignore_row_if="either_value_is_missing"),
)
PROBE = SimpleNamespace(name="probe", event_schema=SCHEMA, contract=CONTRACT, event_id="id", entity="id", event_time="a")


@pytest.fixture(scope="module")
def rows(spark):
    """Good and bad values, borders, nulls and NaN, in 300 random combinations."""
    pick = random.Random(7).choice
    numbers = (None, 0.0, -0.0, 1.0, 10.0, 10.000001, -1.0, float("nan"), float("inf"), float("-inf"))
    times = (None, *(datetime(2026, 1, day) for day in (1, 2, 3)), datetime(2025, 12, 31, 23, 59, 59, 999999))
    texts = (None, "", "u", "v", "uv", "v\n", "é")
    values = [
        (str(i), pick(numbers), pick((None, 0, 1, 2, 3)), pick(texts), pick((None, True, False)), pick(times), pick(times),
         pick(numbers), pick(numbers))
        for i in range(300)
    ]  # fmt: skip
    return spark.createDataFrame(values, SCHEMA).repartition(2).localCheckpoint()


def test_both_find_the_same_rows_for_every_expectation(rows, tmp_path):
    complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
    result = validate(_context(tmp_path), rows, PROBE, complete)
    suite = {one.expectation_config.meta["as_written"]: one.result["unexpected_index_list"] for one in result.results}
    compiled = {
        str(expectation): {row.id for row in rows.where(~expectation.condition).select("id").collect()}
        for expectation in check_contract(SCHEMA, CONTRACT)
    }
    assert {name: {row["id"] for row in found} for name, found in suite.items()} == compiled
    assert all(0 < len(found) < 300 for found in compiled.values())


def test_a_suite_counts_what_fails_and_writes_data_docs(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_suite(rows, PROBE, tmp_path / "docs")
    nulls = rows.where(F.col("x").isNull()).count()
    assert not result.success
    assert result.rows == 300
    assert len(result.outcomes) == len(CONTRACT)
    assert result.outcomes[0].expectation == "expect_column_values_to_not_be_null(column='x')"
    assert result.outcomes[0].unexpected == nulls > 0
    assert "probe contract" in result.docs.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]


class Loads(HTMLParser):
    """What a browser would fetch by itself for a page, its text, and its policy."""

    def __init__(self, page):
        super().__init__()
        self.fetched, self.text, self.links, self.policy = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "a":
            self.links.append(given.get("href") or "")
        else:
            self.fetched += [given[name] for name in ("src", "href", "srcset", "data", "action", "poster") if given.get(name)]
        if tag == "script":
            self.fetched.append("a script")
        if given.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = given["content"]

    def handle_data(self, data):
        self.text.append(data)
        self.fetched += re.findall(r"url\((.*?)\)|@import", data)


def test_data_docs_show_what_was_found_and_fetch_nothing(rows, tmp_path):
    result = run_suite(rows, PROBE, tmp_path)
    pages = {path: Loads(path.read_text()) for path in tmp_path.rglob("*.html")}
    assert len(pages) >= 3
    for path, page in pages.items():
        assert [each for each in page.fetched if not each.startswith("data:")] == [], path
        assert "default-src 'none'" in page.policy and "script-src" not in page.policy, path
    text = " ".join(" ".join("".join(page.text).split()) for path, page in pages.items() if "validations" in path.parts)
    assert "Status: Failed" in text and "Values in a must always be greater than those in b" in text
    assert f"{result.outcomes[0].unexpected} unexpected values found" in text
    index = pages[result.docs]
    assert {(tmp_path / unquote(each)).resolve() for each in index.links} >= set(pages) - {result.docs}


def test_a_suite_succeeds_on_good_rows_and_on_none(rows, tmp_path):
    vertical = SimpleNamespace(**vars(PROBE) | {"contract": CONTRACT[:1]})
    good = rows.where("x is not null")
    assert run_suite(good, vertical, tmp_path).success
    nothing = run_suite(good.limit(0), PROBE, tmp_path)
    assert (nothing.success, nothing.rows, sum(outcome.unexpected for outcome in nothing.outcomes)) == (True, 0, 0)
    no_texts = run_suite(rows.withColumn("s", F.lit(None).cast("string")), PROBE, tmp_path)
    assert {o.unexpected for o in no_texts.outcomes if "column='s'" in o.expectation} == {0, 300}
