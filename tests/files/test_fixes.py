"""What may stand in a fix: what Spark's own parser makes of it is looked at, and nothing else than what is listed runs."""

import json
import random
from contextlib import nullcontext

import pytest
from pyspark.sql import functions as F

from common.archive.repairs import FixError, parse_fixes, with_fixes
from common.archive.safe_expressions import FUNCTIONS, MAX_FIELD_CHARACTERS, OPERATORS, UnsafeExpression, check_expression
from common.installed import find_vertical

pytestmark = pytest.mark.files

FINANCE = find_vertical("finance_fraud")
# Fields that a writer put into a record so that a fix could name them.
PLANTED = ("builtin", "system", "select", "from", "text", "value", "user", "current_user", "java_method", "exists", "r")
NAMES = ("amount", "currency", "card_id", "event_time", *PLANTED)


@pytest.mark.parametrize("text", [
    "abs(try_cast(amount AS double))",
    "CASE WHEN (amount < '0') THEN - amount ELSE NULL END",
    "upper(trim(both ' ' from currency))",
    "concat('it''s (a) -- name ', \"/* no comment */\")",
    "to_timestamp(event_time) - interval 10 hours",
    "try_cast(regexp_replace(amount, '[^0-9.]', '') as decimal(10, 2))",
    "nullif(currency, r)",
    "if(amount rlike r'^\\d+$' and currency not like 'X%', position('.' in amount) % 2, `amount` || substring(card_id from 2))",
    "coalesce(date '2020-01-01', currency in ('a', 'b') or card_id between 1 and 2 or not event_time is null)",
    "regexp_extract(amount, '^\\\\s*(\\\\d+),(\\\\d{2})$', 1) /* and why */",
])  # fmt: skip
def test_an_expression_over_the_fields_is_a_fix(spark, text):
    check_expression(spark, text, NAMES)


@pytest.mark.parametrize(("text", "said"), [
    ("java_method('java.lang.System', 'exit', '1')", "function java_method"),
    ("builtin.java_method('java.lang.System', 'getenv', 'HOME')", "function builtin.java_method"),
    ("system.builtin.java_method('java.lang.System', 'getenv', 'HOME')", "function system.builtin.java_method"),
    ("`builtin`.`java_method`('java.lang.System', 'getenv', 'HOME')", "function builtin.java_method"),
    ("`java_method`('java.lang.System', 'getenv', 'HOME')", "function java_method"),
    ("builtin.upper(amount)", "function builtin.upper"),
    ("identifier('java_method')('java.lang.System', 'getenv', 'HOME')", "ExpressionWithUnresolvedIdentifier"),
    ("identifier('amount')", "ExpressionWithUnresolvedIdentifier"),
    ("reflect('java.lang.Runtime', 'getRuntime')", "function reflect"),
    ("try_reflect('java.lang.Runtime', 'getRuntime')", "function try_reflect"),
    ("(SELECT max(amount) FROM events)", "ScalarSubquery"),
    ("(select value from text.passwords)", "ScalarSubquery"),
    ("case when exists (select value from text.passwords) then 1 end", "Exists"),
    ("amount in (select value from text.passwords)", "InSubquery"),
    ("first(amount) OVER (ORDER BY amount)", "WindowExpression"),
    ("upper(distinct amount)", "values only"),
    ("upper(amount) filter (where true)", "values only"),
    ("explode(array(1, 2))", "function"),
    ("transform(array(1), amount -> 1)", "function transform|Lambda"),
    ("rAiSe_ErRoR('x')", "function rAiSe_ErRoR"),
    ("1; DROP TABLE events", "Spark does not take it"),
    ("1 union select 1", "Spark does not take it|not allowed"),
    ("'${env:HOME}'", "${ is not allowed"),
    ("r'\\' || java_method('a', 'b') || '", "Spark does not take it"),
    ("'unfinished", "Spark does not take it"),
    ("\0", "Spark does not take it"),
    ("amount.java_method('a')", "function amount.java_method"),
    ("cast(amount as string).java_method('a')", "Spark does not take it|not allowed"),
    ("amount.x", "without dots"),
    ("session.amount", "without dots"),
    ("amount[0]", "UnresolvedExtractValue"),
    ("amount:x", "Alias|SemiStructuredExtract"),
    ("amount as x", "Alias"),
    ("*", "UnresolvedStar"),
    (":amount", "NamedParameter"),
    ("?", "PosParameter"),
    ("current_date", "current_date is unknown"),
    ("localtimestamp", "localtimestamp is unknown"),
    ("current_user()", "function current_user"),
    ("user()", "function user"),
    ("X'00'", "type binary"),
    ("cast(amount as array<int>)", "type array<int>"),
    ("cast(amount as variant)", "type variant"),
    ("amount collate utf8_lcase", "Collate"),
    ("cielling(amount)", "did you mean ceiling"),
    ("amuont", "did you mean amount"),
    ("uuid(1)", "function uuid"),
    ("rand()", "function rand"),
    ("repeat(amount, 1000000000)", "function repeat"),
    ("round(try_cast(amount as double), 2147483647)", "number of digits"),
    ("floor(try_cast(amount as double), try_cast(amount as int))", "number of digits"),
    ("regexp_replace(amount, '(a+)+$', '')", "too many ways"),
    ("amount rlike '(.*a){20}'", "too many ways"),
    ("amount rlike '(?i)a'", "more than a plain pattern"),
    ("amount rlike currency", "a pattern in quotes"),
    ("amount like currency", "a pattern in quotes"),
    ("amount like '%a%a%a%a%a%a%a%b'", "too many ways"),
    ("amount ilike 'a'", "ILike"),
    ("regexp_extract(concat(amount, amount, amount, amount), '(\\\\d+)-\\\\d+', 1)", "too many ways"),
    ("replace(amount, 'a', currency)", "in quotes"),
    ("replace(replace(amount, 'a', 'aaaaaaaaaaaaaaaa'), 'a', 'aaaaaaaaaaaaaaaa')", "times as long"),
    ("concat(" + ", ".join(["amount"] * 150) + ")", "times as long"),
    ("concat_ws(currency, " + ", ".join(["amount"] * 60) + ")", "times as long"),
    ("concat_ws(concat_ws(currency, amount, amount), " + ", ".join(["'x'"] * 60) + ")", "times as long"),
    ("(" + "+ ".join(["1"] * 150) + ")", "more than 200 parts"),
    ("'" + "x" * 2000 + "'", "longer than"),
    ("(" * 900 + "1" + ")" * 900, "Spark does not take it|parts|parenthes"),
])  # fmt: skip
def test_what_is_hostile_or_unknown_is_refused_in_words(spark, text, said):
    with pytest.raises(UnsafeExpression) as refused:
        check_expression(spark, text, NAMES)
    assert any(each in str(refused.value) for each in said.split("|")), str(refused.value)


def drawn(draw, depth):
    """An expression of whatever SQL has, allowed and not."""
    if depth == 0:
        return draw.choice([
            "amount", "currency", "builtin", "select", "1", "'a'", "null", "true", "current_user", "a.b", "*", "X'00'", "`user`",
            "date '2020-01-01'", "interval 1 day", "${env:HOME}", "uuid()", "now()", "(select 1)", "1.5", "?", "r'\\d'",
        ])  # fmt: skip
    parts = [drawn(draw, draw.randrange(depth)) for _ in range(3)]
    one, two, three = parts
    function = draw.choice(
        ["upper", "java_method", "builtin.reflect", "if", "coalesce", "regexp_replace", "explode", "sum", "system.builtin.abs"]
    )
    operator = draw.choice(["+", "||", "and", "=", "<=>", "->", "::", ".", ":"])
    return draw.choice([
        f"{function}({', '.join(parts[: draw.randrange(4)])})", f"{one} {operator} {two}",
        f"case when {one} then {two} else {three} end", f"cast({one} as {draw.choice(['int', 'string', 'binary'])})",
        f"{one} in ({two}, {three})", f"exists ({one})", f"{one} like {two}", f"{one} over ({two})", f"({one})", f"{one} is null",
        f"{one}[{two}]", f"identifier({one})", f"{one} between {two} and {three}", f"struct({one})",
        f"trim(both {one} from {two})", f"array({one})",
    ])  # fmt: skip


def names_of_classes(node):
    yield node.getClass().getSimpleName(), node
    parts = node.children().iterator()
    while parts.hasNext():
        yield from names_of_classes(parts.next())


def test_of_whatever_is_written_only_what_is_listed_passes(spark):
    """Looked at apart: the classes, functions and names of what Spark's parser makes of what passed."""
    draw, parser, passed = random.Random(1), spark._jsparkSession.sessionState().sqlParser(), 0
    for text in (drawn(draw, 3) for _ in range(600)):
        try:
            check_expression(spark, text, NAMES)
        except UnsafeExpression:
            continue
        passed += 1
        for kind, node in names_of_classes(parser.parseExpression(text)):
            assert kind in OPERATORS | {"UnresolvedAttribute", "UnresolvedFunction", "Literal", "Cast"}, text
            if kind == "UnresolvedFunction":
                assert node.nameParts().mkString("|").lower() in FUNCTIONS, text
            if kind == "UnresolvedAttribute":
                assert node.nameParts().mkString("|") in NAMES, text
    assert passed > 30


def test_what_passes_names_functions_that_read_nothing(spark):
    """The list itself: none of them is an aggregate, a generator, or reads what is outside of its arguments."""
    outside = ("java_method", "reflect", "try_reflect", "current_", "session_user", "user", "input_file", "read_", "load",
               "version", "rand", "uuid", "now", "monotonically", "spark_partition", "raise_error", "assert_true")  # fmt: skip
    assert not [name for name in FUNCTIONS if name.startswith(outside)]
    info = {row.function for row in spark.sql("show functions").collect()}
    assert info | {"between", "cast", "try_cast", "nullif", "if"} >= FUNCTIONS


def values(spark, texts, *fixes):
    rows = [(json.dumps(text).encode(), "t", 0, offset) for offset, text in enumerate(texts)]
    records = spark.createDataFrame(rows, "value binary, topic string, partition int, offset long")
    records = records.withColumn("ingest_time", F.lit("2026-01-01 00:00:00").cast("timestamp"))
    fixed = with_fixes(records, parse_fixes(fixes, FINANCE), FINANCE).select("value", F.col("offset").alias("n"))
    return [json.loads(bytes(row.value)) for row in fixed.orderBy("n").collect()]


def test_a_field_that_came_with_the_data_opens_nothing(spark):
    record = dict.fromkeys(PLANTED, "1") | {"amount": "x"}
    with pytest.raises(FixError, match=r"function builtin\.java_method"):
        values(spark, [record], "amount=builtin.java_method('java.lang.System', 'getenv', 'HOME')")
    # A field of that name is that field, whatever else Spark has under it.
    assert [each["amount"] for each in values(spark, [record | {"current_user": "2"}], "amount=current_user")] == [2.0]


def test_a_pattern_is_tried_on_short_texts_only(spark):
    fix = "currency=regexp_replace(currency, '\\\\d+x', '')"
    long = {"currency": "1" * (MAX_FIELD_CHARACTERS + 1), "amount": 1}
    assert values(spark, [{"currency": "12xEUR"}, long, {"amount": 2}], fix) == [{"currency": "EUR"}, long, {"amount": 2}]


@pytest.mark.parametrize("fixes", [
    ["amount=abs(cast(amount AS double))"],
    ["amount=abs(amount)"],
    ["amount=10 / try_cast(amount AS double)"],
    ["amount=amount * 2", "debug_trace=NULL"],
    ["amount=cast(amount AS double)", "currency=concat(cast(amount AS double), '')"],
    ["currency=date_format(timestamp'2026-01-01', note)"],
    ["event_time=timestamp_seconds(try_cast(note AS bigint))"],
    ["event_time=timestamp'2026-01-01' + interval 1 day * try_cast(note AS bigint)"],
    ["currency=split_part('a,b', ',', try_cast(part AS int))"],
    ["event_time=to_utc_timestamp(timestamp'2026-01-01', note)"],
])  # fmt: skip
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_record_on_which_a_fix_fails_stays_and_keeps_no_fix_from_the_others(spark, compiling, fixes, is_compiled):
    hostile = [
        {"amount": amount, "note": note, "part": part, "debug_trace": "t"}
        for amount, note, part in (("x", "qqqqqqq", "0"), ("0", str(2**63 - 1), "0"), ("1e999999", "'", "-1"))
    ]
    plain = {"amount": "-4", "note": "UTC" if "utc" in fixes[0] else "12" if "bigint" in fixes[0] else "yyyy", "part": "1"}
    with compiling() if is_compiled else nullcontext():
        found = values(spark, [*hostile, plain], *fixes)
    assert found[-1] != plain, "the fix is applied to the others"
    assert any(each == before for each, before in zip(found, hostile, strict=False)), "and fails on one of these"


def test_what_passes_is_tried_in_a_bounded_time(spark):
    """The dearest that pass, on texts made for them; without the bound one of them alone would take hours."""
    texts = ["a" * (MAX_FIELD_CHARACTERS - 1) + tail for tail in ("!", "a")]
    dear = [r"a*a*$", r"^(a|b)*c", r"^a*a*a*b", "(a*)b{1,3}c", "^(aa?)b"]
    passed = []
    for pattern in dear:
        try:
            check_expression(spark, f"amount rlike r'{pattern}'", NAMES)
            passed.append(pattern)
        except UnsafeExpression:
            continue
    assert len(passed) >= 3
    frame = spark.createDataFrame([(text,) for text in texts], "amount string")
    assert frame.select(*[F.expr(f"amount rlike r'{pattern}'") for pattern in passed]).count() == 2
