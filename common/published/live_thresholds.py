"""Changes thresholds while streams run: checks and publishes them, with who changed them when, and gives them to running queries.

A change is one row in the `versions` table that holds every value changed so far; the newest row is in force, before
the environment and the defaults. Only the thresholds of rules can change so: other settings decide what a window is or
what is kept in state, and need a restart.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import getfile
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from common.errors import did_you_mean
from common.published.reference_data import publish, read_in_force
from common.published.versions import SETTINGS, Version, in_force, newest, versions
from common.settings import SettingsError, load
from common.thresholds import SETTINGS_VERSION, LiveSettings
from common.vertical import Vertical

BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}


@dataclass(frozen=True)
class Threshold:
    """One threshold as it stands. changed_by: the publication that gave it its value; None: environment or default."""

    name: str
    value: float
    default: float
    bounds: str
    description: str
    live: bool
    changed_by: Version | None


def publish_settings(vertical: Vertical, folder: str, changes: Mapping[str, str | None], who: str) -> Version:
    """Put thresholds in force, text as from a command line; None: back to the environment's value.

    What others publish at the same moment stays in force beside it. Raises SettingsError, and changes nothing, when one of
    the changes cannot be made, or the thresholds may not have these values together.
    """
    for name in changes:
        _check_name(vertical, name)
        _check_live(vertical, name)

    def publication(earlier_versions: list[Version]) -> Version:
        values = {**_live_values(vertical, newest(earlier_versions, SETTINGS)), **changes}
        settings = load(vertical.settings, **values)
        thresholds = {name: float(getattr(settings, name)) for name, value in values.items() if value is not None}
        infinite = [name for name, value in thresholds.items() if not isfinite(value)]
        if infinite:
            raise SettingsError(f"{', '.join(infinite)}: give a finite number")
        created_at = datetime.now(UTC)
        details = {"values": thresholds, "who": who, "changed": sorted(changes)}
        version = f"{_hash(thresholds)}.{created_at:%Y%m%d%H%M%S}"
        return Version(SETTINGS, version, created_at.date().isoformat(), created_at, details)

    return publish(publication, folder)


def settings_in_force(vertical: Vertical, folder: str) -> BaseSettings:
    """The vertical's settings as they are now: what was published, before the environment and the defaults."""
    return load(vertical.settings, **_values_in_force(vertical, folder))


def changed_settings(vertical: Vertical, folder: str, changes: Mapping[str, str | None]) -> BaseSettings:
    """The same with `changes`, of thresholds or of other settings; raises SettingsError."""
    for name in changes:
        _check_name(vertical, name)
    return load(vertical.settings, **{**_values_in_force(vertical, folder), **changes})


def thresholds(vertical: Vertical, folder: str) -> list[Threshold]:
    """Every threshold of the vertical's rules as it stands."""
    settings, changes = settings_in_force(vertical, folder), [change for change in versions(folder) if change.kind == SETTINGS]
    last_changes = {name: change for change in changes for name in change.details["changed"]}
    values_in_force = _values_in_force(vertical, folder)
    return [
        Threshold(
            name,
            float(getattr(settings, name)),
            float(field.default),
            _bounds(field),
            field.description or "",
            name in vertical.live_thresholds,
            last_changes[name] if name in values_in_force else None,
        )
        for name, field in vertical.settings.model_fields.items()
        if name in {rule.threshold for rule in vertical.rules}
    ]


def _bounds(field: FieldInfo) -> str:
    limits = [(word, getattr(bound, limit, None)) for bound in field.metadata for limit, word in BOUNDS.items()]
    return ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)


def live_settings(spark: SparkSession, vertical: Vertical, folder: str, rule_settings: Any) -> LiveSettings:
    """Settings for running queries: thresholds are read again in their newest version at every checkpoint interval."""
    changes = read_in_force(spark, folder, SETTINGS, _schema(vertical))
    return LiveSettings(rule_settings, changes, rules_version(vertical, rule_settings))


def settings_as_of(spark: SparkSession, vertical: Vertical, folder: str, rule_settings: Any, version: str) -> LiveSettings:
    """The same with the thresholds of one version; of none, as before the first: those of `rule_settings`."""
    changes = [change for change in versions(folder) if change.kind == SETTINGS and change.version == version]
    schema = _schema(vertical)
    values = [{SETTINGS_VERSION: change.version, **change.details["values"]} for change in changes]
    rows = [tuple(row.get(name) for name in schema.names) for row in values]
    return LiveSettings(rule_settings, spark.createDataFrame(rows, schema), rules_version(vertical, rule_settings))


def rules_version(vertical: Vertical, rule_settings: BaseSettings) -> str:
    """Twelve hexadecimal digits of what decides an alert: the source of the vertical's package, and its settings."""
    package = Path(getfile(vertical.settings)).parent
    sources = {file.relative_to(package).as_posix(): file.read_text() for file in package.rglob("*.py")}
    return _hash([sources, rule_settings.model_dump(mode="json")])


def _schema(vertical: Vertical) -> T.StructType:
    thresholds = [T.StructField(name, T.DoubleType()) for name in vertical.live_thresholds]
    return T.StructType([T.StructField(SETTINGS_VERSION, T.StringType()), *thresholds])


def _values_in_force(vertical: Vertical, folder: str) -> dict[str, float]:
    """The published values of the version in force, by threshold."""
    return _live_values(vertical, in_force(folder, SETTINGS))


def _live_values(vertical: Vertical, version: Version | None) -> dict[str, float]:
    """The version's values; a threshold that the vertical has no longer is passed over, here as on the stream."""
    values = version.details["values"] if version else {}
    return {name: value for name, value in values.items() if name in vertical.live_thresholds}


def _check_name(vertical: Vertical, name: str) -> None:
    names = list(vertical.settings.model_fields)
    if name not in names:
        raise SettingsError(f"{vertical.name} has no setting {name}{did_you_mean(name, names)}; there are {', '.join(names)}")


def _check_live(vertical: Vertical, name: str) -> None:
    if name not in vertical.live_thresholds:
        variable = f"{vertical.settings.model_config.get('env_prefix', '')}{name}".upper()
        raise SettingsError(
            f"{name} decides what a window is or what is kept, and cannot change while streams run: set {variable} and start "
            f"them again; these can: {', '.join(vertical.live_thresholds)}"
        )


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
