"""Fixes as they are typed: what may stand in one, and what is refused before Spark sees it."""

import pytest

from common.ingestion.fixes import FixError, parse_fixes
from common.vertical import find_vertical

FINANCE = find_vertical("finance_fraud")


@pytest.mark.parametrize("text", [
    "amount=abs(try_cast(amount AS double))",
    "amount = CASE WHEN (amount < '0') THEN - amount ELSE NULL END",
    "currency=upper(trim(currency))",
    "card_id=concat('it''s (a) -- name ', \"/* no comment */\")",
    "event_time=to_timestamp(event_time) - interval 10 hours",
    "amount=try_cast(regexp_replace(amount, '[^0-9.]', '') as decimal(10, 2))",
    "debug_trace=null",
    "currency=nullif(currency, r)",
])  # fmt: skip
def test_an_expression_over_the_fields_is_a_fix(text):
    [fix] = parse_fixes([text], FINANCE)
    assert str(fix).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(("text", "said"), [
    ("amount", "field=SQL"),
    ("amount=", "field=SQL"),
    ("=1", "field=SQL"),
    ("amuont=1", "did you mean amount"),
    ("debug_trace='x'", "debug_trace=NULL"),
    ("amount=java_method('java.lang.System', 'exit', '1')", "function java_method"),
    ("amount=reflect('java.lang.Runtime', 'getRuntime')", "function reflect"),
    ("amount=(SELECT max(amount) FROM events)", "function max"),
    ("amount=first(amount) OVER (ORDER BY amount)", "function first"),
    ("amount=explode(array(1, 2))", "function explode"),
    ("amount=rAiSe_ErRoR('x')", "function rAiSe_ErRoR"),
    ("amount=abs/**/(amount)", "/* is not allowed"),
    ("amount=1 -- and no more", "-- is not allowed"),
    ("amount=1; DROP TABLE events", "; is not allowed"),
    ("amount=`amount`", "` is not allowed"),
    ("currency='${env:HOME}'", "${ is not allowed"),
    ("currency=r'\\' || java_method('a', 'b') || '", "r' is not allowed"),
    ("currency='unfinished", "' is not allowed"),
    ("currency=\0", "' is not allowed"),
    ("amount=element_at(array(1), {})", "{ is not allowed"),
    ("amount=cielling(amount)", "did you mean ceiling"),
])  # fmt: skip
def test_what_is_hostile_or_unknown_is_refused_in_words(text, said):
    with pytest.raises(FixError) as refused:
        parse_fixes([text], FINANCE)
    assert said in str(refused.value)


def test_a_field_has_one_fix():
    with pytest.raises(FixError, match="has a fix already"):
        parse_fixes(["amount=1", "amount=2"], FINANCE)
