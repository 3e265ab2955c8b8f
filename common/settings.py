"""Settings: typed, immutable, read once from the environment at the edge, then passed down.

Core settings are `HYBRID_<FIELD>`; a vertical's own are `<VERTICAL>_<FIELD>`. A variable with such a prefix and no field of
its name stops the start: a misspelt threshold that is silently ignored is worse than no threshold.
"""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import UserError, did_you_mean

SERVICE = re.compile(
    r"(?P<service>\w+?)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)", re.ASCII
)
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
UNIT_WORDS = "second|minute|hour|day|week"
SPAN = re.compile(rf"(?P<number>[0-9]{{1,12}}(\.[0-9]{{1,6}})?)(?:[ ]?(?P<unit>[smhdw]|({UNIT_WORDS})s?))?", re.ASCII)
INTERVAL = re.compile(rf"[1-9][0-9]{{0,5}} ({UNIT_WORDS})s?", re.ASCII)  # a span as Spark reads it
LONGEST_SPAN = timedelta(weeks=999_999)


class SettingsError(UserError):
    """A setting is unknown or unreadable; the message names the variable and what it may be."""


def parse_span(text: str) -> timedelta:
    """The span of time that is written as `90` (seconds), `60s`, `5m`, `2h`, `1.5h`, `30 minutes` or `1 day`.

    Settings and command-line options are read by this one parser. Raises ValueError for any other text, and for a span of
    nothing or of more than LONGEST_SPAN.
    """
    if parts := SPAN.fullmatch(text):
        seconds = float(parts["number"]) * UNIT_SECONDS[(parts["unit"] or "s")[0]]
        if seconds <= LONGEST_SPAN.total_seconds() and (length := timedelta(seconds=seconds)):
            return length
    raise ValueError(f"'{text}' is no span of time: give 90 (seconds), 60s, 5m, 2h, '30 minutes', '1 day' or '2 weeks'")


def leave_no_gap(window: str, slide: str) -> None:
    """Raises ValueError when events between two windows would be in none."""
    if parse_span(slide) > parse_span(window):
        raise ValueError(f"windows of {window} every {slide} leave gaps: begin them at least every {window}")


def _as_interval(text: str) -> str:
    """A span of time as Spark reads intervals: `30 minutes` as it stands, `90`, `5m` and the like as seconds."""
    length = parse_span(text)
    if INTERVAL.fullmatch(text):
        return text
    if length % timedelta(seconds=1):
        raise ValueError(f"'{text}' is no span of time for a setting: give whole seconds")
    return f"{length // timedelta(seconds=1)} seconds"


# The type of a setting that is a span of time: text that Spark takes for an interval.
Span = Annotated[str, AfterValidator(_as_interval)]


class Settings(BaseSettings):
    """What every command of the core may need. Durations in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="HYBRID_", frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(Path("~/.cache/hybrid"), description="cache of jars, of Java's classes and of the fallback Java")
    data: Path = Field(Path("hybrid-data"), description="Delta tables, checkpoints, models, plots, broker data")

    bootstrap_servers: str | None = Field(None, description="an existing Kafka; without it an embedded one is started")
    kafka_security_protocol: str = Field("PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    kafka_sasl_mechanism: str | None = Field(None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    kafka_sasl_username: str | None = Field(None, description="login of this process")
    kafka_sasl_password: SecretStr | None = Field(None, description="its password")
    kafka_ssl_ca_location: Path | None = Field(None, description="PEM file of authorities that sign the brokers' certificates")
    kafka_ssl_certificate_location: Path | None = Field(None, description="PEM file of this process's certificate")
    kafka_ssl_key_location: Path | None = Field(None, description="PEM file of its private key [the certificate's file]")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="what its private key is encrypted with")
    pseudonym_key: SecretStr | None = Field(None, description="base64 of 32 bytes; without it one is kept with the data")
    pseudonym_former_keys: SecretStr | None = Field(None, description="keys of before, with commas between them")
    partitions: int = Field(2, ge=1, le=1024, description="partitions of each topic made here")
    replication: int | None = Field(None, ge=1, le=16, description="replicas of each topic made here [one a broker, at most 3]")

    spark_master: str | None = Field(None, description="a cluster's master; without it local[as many slots as needed]")
    driver_memory: str = Field("2g", pattern=r"^\d+[kmg]$", description="memory of Spark's driver: a number with k, m or g")
    shuffle_partitions: int = Field(2, ge=1, le=4096, description="shuffle partitions of each streaming query")
    checkpoint_interval: int = Field(300, ge=5, le=86_400, description="seconds between checkpoints of a real-time query")
    archive_interval: int = Field(5, ge=1, le=86_400, description="seconds between micro-batches of the archive")
    future_tolerance: int = Field(300, ge=0, le=31_622_400, description="seconds an event may be ahead of when it came in")
    event_age_days: int = Field(0, ge=0, le=36_500, description="days an event may be older than when it came in; 0: any number")
    delivery_timeout: float = Field(
        60, gt=0, le=2_000_000, description="seconds that generate, replay and intake of files try again while the broker is away"
    )
    alert_cooldown: float = Field(300, ge=0, description="seconds in which screens tell an alert again only as it rises")
    retrain_drift: float = Field(0.25, gt=0, description="PSI of a model's feature above which a batch run trains a challenger")
    batch_schedule: str = Field("0 3 * * *", description="when serve runs the batch jobs: five cron fields, UTC")
    batch_lag_limit: int = Field(100_000, ge=0, description="records behind beyond which serve puts a batch job off")
    gateway_body_megabytes: int = Field(8, ge=1, le=1024, description="largest body of a request to the gateway, unpacked")
    gateway_rate: int = Field(100_000, ge=0, description="events a second that the gateway takes from one client; 0: any number")
    gateway_pages: int = Field(50, ge=0, description="pages of alerts a second that the gateway gives one client; 0: any number")
    gateway_connections: int = Field(1_000, ge=1, description="connections that the gateway holds at once of those that may")
    gateway_open: bool = Field(False, description="whether the gateway serves this machine without a token")
    gateway_timeout: int = Field(10, ge=1, le=86_400, description="seconds in which Kafka must acknowledge what the gateway took")
    vacuum_hours: int = Field(168, ge=1, le=876_000, description="age at which replaced table files are removed")


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(settings: type[AnySettings], **options: Any) -> AnySettings:
    """Read `settings` from the environment; command-line `options` that are not None take precedence.

    Raises SettingsError naming every variable that is unknown or has an unreadable value.
    """
    prefix = settings.model_config.get("env_prefix", "")
    variables = {f"{prefix}{field}".upper() for field in settings.model_fields}
    with_prefix = (name for name in os.environ if name.upper().startswith(prefix.upper()) and not _is_of_kubernetes(name))
    unreadable = sorted(name for name in os.environ if name.upper() in variables and not _is_text(os.environ[name]))
    if unreadable:
        raise SettingsError(f"unreadable setting: {', '.join(unreadable)}: its bytes are no UTF-8")
    unknown = sorted(name for name in with_prefix if name.upper() not in variables)
    if unknown:
        lines = [f"unknown setting {name}{did_you_mean(name, variables)}" for name in unknown]
        raise SettingsError("\n".join([*lines, f"known: {', '.join(sorted(variables))}"]))
    try:
        return settings(**{field: value for field, value in options.items() if value is not None})
    except ValidationError as errors:
        # An error about several settings together has no location.
        lines = [f"{prefix}{error['loc'][0]}".upper() + f": {error['msg']}" if error["loc"] else error["msg"]
                 for error in errors.errors()]  # fmt: skip
        raise SettingsError("unreadable setting: " + "; ".join(lines)) from None


def _is_text(value: str) -> bool:
    """Whether the variable's bytes are UTF-8: Python keeps others as surrogates, which cannot be written out."""
    return value.encode(errors="ignore").decode() == value


def _is_of_kubernetes(name: str) -> bool:
    """Whether Kubernetes set this variable, as it does for each Service of a namespace, whose name may be like our prefix."""
    service = SERVICE.fullmatch(name)
    return service is not None and f"{service['service']}_SERVICE_HOST" in os.environ
