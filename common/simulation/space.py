"""Points on the globe: scatters them around centres and measures distances. Degrees and kilometres."""

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6_371.0
KM_PER_DEGREE = 111.195


def scatter(
    rng: np.random.Generator, latitude: NDArray[np.float64], longitude: NDArray[np.float64], spread_km: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One point near each centre, normally distributed with `spread_km` along each axis; 5 decimals (about a metre)."""
    north, east = rng.normal(0, spread_km / KM_PER_DEGREE, (2, len(latitude)))
    return np.round(latitude + north, 5), np.round(longitude + east / np.cos(np.radians(latitude)), 5)


def distance_km(
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    other_latitude: NDArray[np.float64],
    other_longitude: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Great-circle distance by the haversine formula; arguments broadcast."""
    phi, other_phi = np.radians(latitude), np.radians(other_latitude)
    haversine = np.sin((other_phi - phi) / 2) ** 2
    haversine = haversine + np.cos(phi) * np.cos(other_phi) * np.sin(np.radians(np.subtract(other_longitude, longitude)) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(haversine))
