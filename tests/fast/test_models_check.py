"""A loaded structure that holds anything but a model's arithmetic is refused."""

import re
from contextlib import suppress

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot.dialects.dialect import Dialect

from common.models import check
from common.models.check import MAX_CHARACTERS, MAX_DEPTH, UnsafeModel, check_structure
from common.models.structure import DIALECT

FEATURES = ("amount", "ratio")


@pytest.mark.parametrize(
    ("structure", "refused_for"),
    [
        ("(SELECT MAX(`amount`) FROM events)", "Subquery"),
        ("`amount` + (SELECT 1)", "Subquery"),
        ("EXISTS(SELECT 1)", "Exists"),
        ("REFLECT('java.lang.System', 'exit', 1)", "Anonymous"),
        ("JAVA_METHOD('java.lang.Runtime', 'halt', 1)", "Anonymous"),
        ("builtin.JAVA_METHOD('java.lang.Runtime', 'halt', 1)", "Dot|Anonymous"),
        ("RAISE_ERROR('x')", "Anonymous"),
        ("ASSERT_TRUE(FALSE)", "not hold"),
        ("GET(`amount`, 0)", "Anonymous"),
        ("GET(model_parameters, `amount`)", "Anonymous"),
        ("GET(model_parameters, 2)", "parameter 2 of 2"),
        ("GET(model_parameters, -1)", "Anonymous"),
        ("GET(model_parameters, 0000001)", "Anonymous"),
        ("GET(model_parameters, " + "9" * 5000 + ")", "Anonymous"),
        ("GET(model_parameters, \N{ARABIC-INDIC DIGIT ZERO})", "Anonymous"),
        ("MAP ( ? IN", "not an SQL expression"),
        ("PIVOT INTERVAL ? AT DESCRIBE + ELSE", "not an SQL expression"),
        ("model_parameters", "not one of its features"),
        ("`card_id`", "not one of its features"),
        ("events.`amount`", "not one of its features"),
        ("amount", "not one of its features"),
        ("`${env:HOME}`", "not one of its features"),
        ("${env:HOME}", "not"),
        ("`amount``) + java_method(``x`", "not one of its features"),
        ("current_user", "not"),
        ("user", "not"),
        ("session_user", "not"),
        ("localtimestamp", "not"),
        ("CURRENT_TIMESTAMP()", "not hold"),
        ("CAST(`amount` AS STRING)", "not hold Cast"),
        ("CAST(`amount` AS INT)", "not hold Cast"),
        ("TRY_CAST(`amount` AS DOUBLE)", "not hold TryCast"),
        ("1 / 0", "not hold Div"),
        ("`amount` % 0", "not hold Mod"),
        ("`amount` / `ratio`", "not hold Div"),
        ("999999 * 999999", "whole numbers alone"),
        ("(1 + 1) * `amount`", "whole numbers alone"),
        ("CASE WHEN TRUE THEN 1 ELSE 0 END", "Boolean"),
        ("CASE `amount` WHEN 1 THEN 1 ELSE 0 END", "CASE WHEN only"),
        ("CASE WHEN `amount` THEN 1 ELSE 0 END", "condition belongs"),
        ("`amount` + (`ratio` > 1)", "a number belongs"),
        ("`amount` > 1", "is a condition"),
        ("1.5", "small whole numbers"),
        ("1e5", "small whole numbers"),
        ("9999999999999", "small whole numbers"),
        ("'text'", "text"),
        ("`amount` ; DROP TABLE events", "one expression"),
        ("DROP TABLE events", "Drop"),
        ("`amount` -- and a comment", "not written as"),
        ("`amount` /* hint */ + 1", "not written as"),
        ("`amount` +", "not an SQL expression"),
        ("", "one expression"),
        ("(" * 3000 + "1" + ")" * 3000, "not an SQL|levels deep"),
        ("*", "Star"),
        ("RAND()", "Rand"),
        ("`amount` OVER (ORDER BY 1)", "not"),
        ("TRANSFORM(model_parameters, x -> x)", "not hold"),
    ],
)
def test_hostile_sql_is_refused(structure, refused_for):
    with pytest.raises(UnsafeModel, match=refused_for):
        check_structure(structure, FEATURES, 2)


@pytest.mark.parametrize("name", [
    "${env:HYBRID_KAFKA_SASL_PASSWORD}", "${spark.app.id}", "a`) + java_method(`x", "a b", "a.b", "", "1a", "ä", "a\n", "*",
])  # fmt: skip
def test_a_feature_is_a_plain_name(name):
    quoted = "`" + name.replace("`", "``") + "`"
    with pytest.raises(UnsafeModel, match="is no name of a feature"):
        check_structure(quoted, [name], 0)


def test_a_structure_is_bounded(monkeypatch):
    monkeypatch.setattr(check, "MAX_NODES", 100)
    deep = " + ".join(["`amount`"] * (MAX_DEPTH + 2))
    flat = f"CASE {' '.join(['WHEN `amount` > 1 THEN `ratio`'] * 20)} ELSE 0 END"
    for structure, limit in ((deep, "levels deep"), (flat, "parts"), ("1" * (MAX_CHARACTERS + 1), "characters")):
        with pytest.raises(UnsafeModel, match=limit):
            check_structure(structure, FEATURES, 0)


ATOMS = st.sampled_from([
    "`amount`", "`ratio`", "GET(model_parameters, 0)", "GET(model_parameters, 1)", "1", "0", "12", "1.5", "amount", "user",
    "TRUE", "NULL", "'text'", "`other`", "`${env:HOME}`", "GET(model_parameters, 7)", "events.`amount`", "CURRENT_USER()", "*",
    ":p", "@v", "model_parameters[0]", "X'00'", "INTERVAL '1' DAY", "DATE '2020-01-01'", "?", "{1}", "(SELECT 1)",
])  # fmt: skip
CALLS = st.sampled_from([
    "EXP", "ABS", "TRY_DIVIDE", "IF", "JAVA_METHOD", "builtin.REFLECT", "RAND", "RAISE_ERROR", "COALESCE", "SQRT", "LN", "GET",
])  # fmt: skip
OPERATORS = st.sampled_from([
    "+", "-", "*", "/", "%", "DIV", "=", "<", "<=", ">", ">=", "<>", "<=>", "AND", "OR", "||", "&", "^", "IN", "->", ".",
])  # fmt: skip


def _made_of(parts):
    return st.one_of(
        st.tuples(parts, OPERATORS, parts).map(" ".join),
        st.tuples(CALLS, st.lists(parts, max_size=3)).map(lambda call: f"{call[0]}({', '.join(call[1])})"),
        st.tuples(parts, st.sampled_from(["AS DOUBLE", "AS STRING", "AS INT"])).map(lambda cast: f"CAST({cast[0]} {cast[1]})"),
        st.tuples(parts, parts, parts).map(lambda case: f"CASE WHEN {case[0]} THEN {case[1]} ELSE {case[2]} END"),
        parts.map(lambda part: f"({part})"), parts.map(lambda part: f"-{part}"), parts.map(lambda part: f"NOT {part}"),
    )  # fmt: skip


TOKENS = re.compile(
    r"(?:`amount`|`ratio`|GET\(model_parameters, [01]\)|\b[0-9]{1,6}\b|\b(?:EXP|ABS|TRY_DIVIDE|IF)(?=\()|[-+*=<>(),]|<=|>=| "
    r"|\b(?:CASE|WHEN|THEN|ELSE|END|AND|OR|NOT)\b)*"
)


@settings(max_examples=200, deadline=None)
@given(st.recursive(ATOMS, _made_of, max_leaves=12))
def test_of_whatever_is_written_only_what_a_model_says_passes(text):
    try:
        passed = check_structure(_as_exported(text), FEATURES, 2)
    except UnsafeModel:
        return
    assert TOKENS.fullmatch(passed), f"of other tokens than a model's: {passed}"


def _as_exported(text):
    """Spelt as the export spells, so that no more is refused for its spelling; what cannot be read stays."""
    try:
        return sqlglot.parse_one(text, read=DIALECT).sql(dialect=DIALECT)
    except Exception:  # sqlglot's parser raises whatever it stumbles over
        return text


KEYWORDS = sorted(Dialect.get_or_raise(DIALECT).tokenizer_class.KEYWORDS)
WORDS = st.sampled_from([*KEYWORDS, "?", "(", ")", ",", "1", "a", "`amount`", "GET"])


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=8).map(" ".join))
def test_whatever_the_parser_stumbles_over_the_model_is_refused(text):
    with suppress(UnsafeModel):
        assert TOKENS.fullmatch(check_structure(text, FEATURES, 2))


def test_what_a_model_says_is_not_logged(caplog):
    with pytest.raises(UnsafeModel):
        check_structure("CREATE whatever\x1b somebody wrote", FEATURES, 0)
    assert not caplog.records


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_structure_or_refused_in_words(text):
    with suppress(UnsafeModel):
        assert TOKENS.fullmatch(check_structure(text, FEATURES, 2))
