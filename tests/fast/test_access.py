"""A role has the rights that its commands need, and no others."""

from common.installed import find_vertical
from common.kafka.acls import READ, ROLES, WRITE, role_rights

FINANCE = find_vertical("finance_fraud")


def test_who_sends_events_may_not_teach_the_model():
    assert role_rights(FINANCE, "producer") == {"finance_fraud.events": (WRITE,)}
    assert role_rights(FINANCE, "labeller") == {"finance_fraud.labels": (WRITE,)}


def test_labels_are_read_by_the_archive_and_written_by_the_labeller_alone():
    may = {(role, operation) for role in ROLES for operation in role_rights(FINANCE, role).get("finance_fraud.labels", ())}
    assert may == {("archive", READ), ("labeller", WRITE)}
