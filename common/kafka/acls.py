"""Who may do what on a vertical's topics, for clusters with access control: a detector's login cannot read labels.

A role's rights are what its commands need and no more. `hybrid topics VERTICAL --allow role=user` grants them.
"""

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from common.kafka.connection import GROUP_PREFIX, BrokerError, Connection, explain
from common.kafka.topics import own_topics, topic_names
from common.vertical import Vertical

READ, WRITE, ASK = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS
ROLES = ("producer", "labeller", "detector", "archive")


def rights(vertical: Vertical, role: str) -> dict[str, tuple[AclOperation, ...]]:
    """Operations by topic: producer (whoever sends events), labeller (whoever knows how they turned out), detector (detect),
    archive (archive). `generate` and `replay` send both: their login is given the first two.

    Labels teach the model: whoever may send events is not thereby whom it believes.
    """
    topics = topic_names(vertical)
    return {
        "producer": {topics.events: (WRITE,)},
        "labeller": {topics.labels: (WRITE,)},
        # It reads alerts too, to show them with their latency. The archive asks how large a dead letter may be.
        "detector": {topics.events: (READ,), topics.alerts: (READ, WRITE)} | dict.fromkeys(own_topics(vertical), (WRITE,)),
        "archive": {topics.events: (READ,), topics.labels: (READ,), topics.alerts: (READ,), topics.dead_letter: (WRITE, ASK)},
    }[role]


def allow(connection: Connection, vertical: Vertical, role: str, user: str) -> list[str]:
    """Grant `user` the rights of `role`; returns a line per topic. Granting again changes nothing. Raises BrokerError."""
    granted = rights(vertical, role)
    bindings = [
        _binding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, user, operation)
        for topic, operations in granted.items()
        for operation in operations
    ]
    if any(READ in operations for operations in granted.values()):
        bindings.append(_binding(ResourceType.GROUP, GROUP_PREFIX, ResourcePatternType.PREFIXED, user, READ))
    admin = AdminClient(connection.client_options())
    for answer in admin.create_acls(bindings, request_timeout=15).values():
        try:
            answer.result()
        except KafkaException as failure:
            raise BrokerError(f"{role}={user}: {explain(connection, [failure.args[0]])}") from None
    return [f"{user} may {_said(operations)} {topic}" for topic, operations in granted.items()]


def _said(operations: tuple[AclOperation, ...]) -> str:
    return " and ".join(operation.name.lower().replace("_", " ") for operation in operations)


def _binding(kind: ResourceType, name: str, pattern: ResourcePatternType, user: str, operation: AclOperation) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
