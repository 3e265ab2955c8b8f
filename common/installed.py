"""Finds the verticals of installed packages, through entry points."""

from importlib.metadata import entry_points

from common.contract.schema import check_vertical
from common.errors import UserError, did_you_mean
from common.vertical import Vertical

VERTICALS_GROUP = "hybrid.verticals"  # of entry points
EXAMPLES_GROUP = "hybrid.examples"  # of verticals that commands find by their names, and that `all` leaves out
ALL = "all"  # names every installed vertical but the examples


class UnknownVertical(UserError):
    """No installed package offers a vertical of that name."""


def vertical_names() -> list[str]:
    """Names of all installed verticals, without the examples."""
    return sorted(point.name for point in entry_points(group=VERTICALS_GROUP))


def example_names() -> list[str]:
    """Names of the verticals that are examples."""
    return sorted(point.name for point in entry_points(group=EXAMPLES_GROUP))


def find_vertical(name: str) -> Vertical:
    """The installed vertical `name`. Raises UnknownVertical, which lists the names, or ContractError (`contract.schema`)."""
    for point in (*entry_points(group=VERTICALS_GROUP), *entry_points(group=EXAMPLES_GROUP)):
        if point.name == name:
            vertical: Vertical = point.load()
            check_vertical(vertical)
            return vertical
    names = vertical_names()
    raise UnknownVertical(f"no vertical named {name!r}{did_you_mean(name, names)}: installed are {', '.join(names) or 'none'}")


def find_verticals(name: str) -> list[Vertical]:
    """The vertical of that name, or every installed one for `all`."""
    return [find_vertical(vertical_name) for vertical_name in (vertical_names() if name == ALL else [name])]
