"""The utility of alarms by the PhysioNet / Computing in Cardiology Challenge 2019, over arrays.

An alarm up to 12 hours before sepsis and until 3 hours after it earns up to 1 (most 6 hours before), silence after that
costs up to 2, an alarm on a patient without sepsis 0.05 an hour. `SepsisLabel` turns 1 six hours before sepsis. 1 is the
most that can be reached and 0 is never to alarm. The figures are those of the challenge's own scorer.
Reyna et al., Critical Care Medicine 48 (2020).
"""

import numpy as np
from numpy.typing import NDArray

EARLY, OPTIMAL, LATE = -12, -6, 3  # hours from sepsis
TRUE_ALARM, MISSED_ALARM, FALSE_ALARM = 1.0, -2.0, -0.05  # most that an hour can earn, and least
CANDIDATES = 200  # thresholds that are tried


def gains(patient: NDArray, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """What an alarm earns over silence in each hour; rows are ordered by patient and time, without gaps."""
    hours = _hours_from_sepsis(patient, label)
    ramp = np.maximum((hours - EARLY) * TRUE_ALARM / (OPTIMAL - EARLY), FALSE_ALARM)
    alarm_utility = np.where(hours <= OPTIMAL, ramp, (LATE - hours) * TRUE_ALARM / (LATE - OPTIMAL))
    silence_utility = np.where(hours <= OPTIMAL, 0.0, (hours - OPTIMAL) * MISSED_ALARM / (LATE - OPTIMAL))
    gain = np.where(hours <= LATE, alarm_utility - silence_utility, 0.0)
    return np.where(np.isnan(hours), FALSE_ALARM, gain)


def best_gain(patient: NDArray, label: NDArray[np.int64]) -> float:
    """The most that can be earned: every hour of a patient with sepsis from EARLY to LATE alarmed, and no other."""
    hours = _hours_from_sepsis(patient, label)
    return float(gains(patient, label)[(hours >= EARLY) & (hours <= LATE)].sum())


def utility(patient: NDArray, label: NDArray[np.int64], is_alarmed: NDArray[np.bool_]) -> float:
    """Normalised utility of alarming in the hours `is_alarmed`."""
    return float(gains(patient, label)[is_alarmed].sum()) / best_gain(patient, label)


def best_threshold(patient: NDArray, label: NDArray[np.int64], score: NDArray[np.float64]) -> float:
    """The threshold of the score with the highest utility over these rows, of CANDIDATES."""
    order = np.argsort(-score, kind="stable")
    total_gain = np.cumsum(gains(patient, label)[order])
    candidates = np.unique(np.linspace(0, len(score) - 1, CANDIDATES).astype(int))
    return float(score[order][candidates[np.argmax(total_gain[candidates])]])


def _hours_from_sepsis(patient: NDArray, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Hours after (below 0: before) the patient's sepsis; NaN for one without."""
    starts = np.flatnonzero(np.append(True, patient[1:] != patient[:-1]))
    sizes = np.diff(np.append(starts, len(patient)))
    hour = np.arange(len(patient)) - np.repeat(starts, sizes)
    labelled_hour = np.where(label == 1, hour, np.inf)
    onset = np.minimum.reduceat(labelled_hour, starts) - OPTIMAL
    return np.repeat(np.where(np.isinf(onset), np.nan, onset), sizes) * -1 + hour
