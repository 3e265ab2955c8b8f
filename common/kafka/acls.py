"""Grants rights on a vertical's topics by role, for clusters with access control: a detector's login cannot read labels.

A role has the rights that its commands need, and no others. `hybrid topics VERTICAL --allow role=user` grants them.
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

from common.kafka.connection import GROUP_PREFIX, BrokerError, Connection, explain_failure
from common.kafka.topics import own_topics, topic_names
from common.vertical import Vertical

READ, WRITE, DESCRIBE_CONFIGS = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS
ROLES = ("producer", "labeller", "detector", "archive")


def role_rights(vertical: Vertical, role: str) -> dict[str, tuple[AclOperation, ...]]:
    """The operations that a role needs, by topic. Roles: producer (sends events), labeller (sends labels), detector (`detect`),
    archive (`archive`). The login of `generate` and `replay`, which send both, gets the first two.

    Labels train the model: a login that may send events should not for that reason be able to train it.
    """
    topics = topic_names(vertical)
    return {
        "producer": {topics.events: (WRITE,)},
        "labeller": {topics.labels: (WRITE,)},
        # detect reads alerts too, to show them with their latency; archive asks how large a dead letter may be.
        "detector": {topics.events: (READ,), topics.alerts: (READ, WRITE)} | dict.fromkeys(own_topics(vertical), (WRITE,)),
        "archive": dict.fromkeys((topics.events, topics.labels, topics.alerts), (READ,))
        | {topics.dead_letter: (WRITE, DESCRIBE_CONFIGS)},
    }[role]


def grant_role(connection: Connection, vertical: Vertical, role: str, user: str) -> list[str]:
    """Grant `user` the rights of `role`; returns a line per topic. Granting again changes nothing. Raises BrokerError."""
    operations_by_topic = role_rights(vertical, role)
    bindings = [
        _binding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, user, operation)
        for topic, operations in operations_by_topic.items()
        for operation in operations
    ]
    if any(READ in operations for operations in operations_by_topic.values()):
        bindings.append(_binding(ResourceType.GROUP, GROUP_PREFIX, ResourcePatternType.PREFIXED, user, READ))
    admin = AdminClient(connection.client_options())
    for answer in admin.create_acls(bindings, request_timeout=15).values():
        try:
            answer.result()
        except KafkaException as failure:
            raise BrokerError(f"{role}={user}: {explain_failure(connection, [failure.args[0]])}") from None
    return [f"{user} may {_describe_operations(operations)} {topic}" for topic, operations in operations_by_topic.items()]


def _describe_operations(operations: tuple[AclOperation, ...]) -> str:
    return " and ".join(operation.name.lower().replace("_", " ") for operation in operations)


def _binding(kind: ResourceType, name: str, pattern: ResourcePatternType, user: str, operation: AclOperation) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
