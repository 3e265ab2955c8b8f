"""Faults can still be planted on purpose: what each replaces is there, once, and so is the test that finds it."""

import ast
import builtins

import pytest

from tests.planted_faults import FAULTS, ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name[:40])
def test_a_fault_can_be_planted_and_its_test_is_there(fault):
    source = (ROOT / fault.file).read_text()
    assert source.count(fault.before) == 1
    unknown = names_in(source.replace(fault.before, fault.after)) - names_in(source) - set(dir(builtins))
    assert not unknown, "it would be found by its names alone"
    file, _, test = fault.test.partition("::")
    functions = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}
    assert test in functions


def names_in(source):
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
