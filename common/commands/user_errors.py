"""Which errors are the user's to mend: told in a sentence, with exit code 1. Any other is a defect of ours."""

from common.archive.repairs import FixError
from common.batch.as_of_day import NoHistory
from common.batch.backfill import OtherHistory
from common.batch.batch import NoModel
from common.clock import ClockSetBack
from common.contract import ContractError
from common.embedded.jars import JarsError
from common.embedded.java import JavaError
from common.embedded.kafka import EmbeddedKafkaError
from common.kafka.connection import BrokerError
from common.kafka.topic_identity import TopicChanged
from common.models.check import UnsafeModel
from common.models.training import ParityBroken, TrainingRefused
from common.published.model_registry import NoSuchModel
from common.reconciliation.lineage import NothingJudged
from common.replay.files import ReplayError
from common.settings import SettingsError
from common.simulation.generated import NotAnEvent
from common.streaming.queries import QueryEnded
from common.streaming.state import OtherState
from common.tables import OtherTypes, UnusableFolder
from common.tables.upkeep import UpkeepFailed
from common.tables.writing import RowsLost
from common.template.writing import NotWritten
from common.vertical import UnknownVertical
from common.workspace import InUse
from loadtests.bench.http_load import NotAccepted
from loadtests.bench.regression import NotComparable

USER_ERRORS = (
    SettingsError,
    UnknownVertical,
    ContractError,
    BrokerError,
    EmbeddedKafkaError,
    JarsError,
    JavaError,
    NoHistory,
    NoModel,
    NoSuchModel,
    NothingJudged,
    OtherHistory,
    OtherState,
    TrainingRefused,
    ParityBroken,
    UnsafeModel,
    NotAnEvent,
    QueryEnded,
    TopicChanged,
    ClockSetBack,
    ReplayError,
    FixError,
    InUse,
    NotComparable,
    NotAccepted,
    NotWritten,
    OtherTypes,
    UnusableFolder,
    RowsLost,
    UpkeepFailed,
    OSError,
)

