"""Computes slow changes over months and years, as pure functions of the date."""

from datetime import date

YEAR_DAYS = 365.25


def years_since(day: date, opening_day: date) -> float:
    """Years from the opening day to `day`; negative before it."""
    return (day - opening_day).days / YEAR_DAYS


def growth(day: date, opening_day: date, per_year: float) -> float:
    """Compound growth as a factor: 1 on the opening day, 1 + `per_year` a year later."""
    return float((1 + per_year) ** years_since(day, opening_day))


def shifted_share(share: float, day: date, opening_day: date, per_year: float) -> float:
    """A share that moves by `per_year` (0.05 is five points) a year, held within [0.01, 0.99]."""
    return min(0.99, max(0.01, share + per_year * years_since(day, opening_day)))
