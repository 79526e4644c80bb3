"""The search attributes by which incidents are listed.

The server keeps them unencrypted: whoever runs it can read them, the names of users too.
"""

from collections.abc import Sequence
from typing import Any

from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from firedoor.model.finding import Principal, Resource
from firedoor.model.incident import Status

STATUS = SearchAttributeKey.for_keyword("FiredoorStatus")
SUBJECT = SearchAttributeKey.for_keyword("FiredoorSubject")
ACCOUNT = SearchAttributeKey.for_keyword("FiredoorAccount")
RUNBOOKS = SearchAttributeKey.for_keyword_list("FiredoorRunbooks")
TYPES = SearchAttributeKey.for_keyword_list("FiredoorTypes")
SEVERITY = SearchAttributeKey.for_float("FiredoorSeverity")
AWAITING = SearchAttributeKey.for_bool("FiredoorAwaiting")

ALL = (STATUS, SUBJECT, ACCOUNT, RUNBOOKS, TYPES, SEVERITY, AWAITING)


def updates(
    status: Status,
    subject: Resource | Principal,
    runbooks: Sequence[str],
    types: Sequence[str],
    severity: float,
    awaiting: bool,
) -> list[SearchAttributeUpdate[Any]]:
    """Return what to publish of an incident."""
    return [
        STATUS.value_set(status),
        SUBJECT.value_set(subject.path),
        ACCOUNT.value_set(subject.account),
        RUNBOOKS.value_set(list(runbooks)),
        TYPES.value_set(types),
        SEVERITY.value_set(severity),
        AWAITING.value_set(awaiting),
    ]
