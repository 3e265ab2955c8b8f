"""Which errors are the user's to mend: told in a sentence, with exit code 1. Any other is a defect of ours."""

from common.bench.against import NotComparable
from common.bench.http_load import NotAccepted
from common.clock import ClockSetBack
from common.contract import ContractError
from common.embedded.jars import JarsError
from common.embedded.java import JavaError
from common.embedded.kafka import EmbeddedKafkaError
from common.ingestion.connection import BrokerError
from common.ingestion.files import ReplayError
from common.ingestion.fixes import FixError
from common.ingestion.same_topic import TopicChanged
from common.models.check import UnsafeModel
from common.models.training import ParityBroken, TrainingRefused
from common.processing.backfill import OtherHistory
from common.processing.batch import NoModel
from common.processing.batch_days import NoHistory
from common.processing.champions import NoSuchModel
from common.processing.judged import NothingJudged
from common.processing.state import OtherState
from common.processing.streams import QueryEnded
from common.settings import SettingsError
from common.simulation.generated import NotAnEvent
from common.tables import OtherTypes, UnusableFolder
from common.tables.upkeep import UpkeepFailed
from common.tables.writing import RowsLost
from common.template.writing import NotWritten
from common.vertical import UnknownVertical
from common.workspace import InUse

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

