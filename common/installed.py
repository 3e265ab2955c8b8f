"""Verticals of installed packages, found through entry points."""

from importlib.metadata import entry_points

from common.contract.schema import check_vertical
from common.errors import UserError, did_you_mean
from common.vertical import Vertical

ENTRY_POINTS = "hybrid.verticals"
ALL = "all"  # what commands call every installed vertical but the examples
EXAMPLES = "hybrid.examples"  # verticals that are found by their names, and are not among `all`


class UnknownVertical(UserError):
    """No installed package offers a vertical of that name."""


def verticals() -> list[str]:
    """Names of all installed verticals."""
    return sorted(point.name for point in entry_points(group=ENTRY_POINTS))


def example_verticals() -> list[str]:
    """Names of the verticals that are examples."""
    return sorted(point.name for point in entry_points(group=EXAMPLES))


def find_vertical(name: str) -> Vertical:
    """The installed vertical `name`; raises UnknownVertical listing what there is, or ContractError (`contract.schema`)."""
    for point in (*entry_points(group=ENTRY_POINTS), *entry_points(group=EXAMPLES)):
        if point.name == name:
            loaded: Vertical = point.load()
            check_vertical(loaded)
            return loaded
    installed = verticals()
    listed = ", ".join(installed) or "none"
    raise UnknownVertical(f"no vertical named {name!r}{did_you_mean(name, installed)}: installed are {listed}")


def find_verticals(name: str) -> list[Vertical]:
    """The vertical of that name, or every installed one for `all`."""
    return [find_vertical(installed) for installed in (verticals() if name == ALL else [name])]
