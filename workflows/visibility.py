"""The search attributes by which incidents are listed; never encrypted, so no personal data."""

from temporalio.common import SearchAttributeKey

STATUS = SearchAttributeKey.for_keyword("FiredoorStatus")
SUBJECT = SearchAttributeKey.for_keyword("FiredoorSubject")
ACCOUNT = SearchAttributeKey.for_keyword("FiredoorAccount")
RUNBOOKS = SearchAttributeKey.for_keyword_list("FiredoorRunbooks")
TYPES = SearchAttributeKey.for_keyword_list("FiredoorTypes")
SEVERITY = SearchAttributeKey.for_float("FiredoorSeverity")
AWAITING = SearchAttributeKey.for_bool("FiredoorAwaiting")

ALL = (STATUS, SUBJECT, ACCOUNT, RUNBOOKS, TYPES, SEVERITY, AWAITING)
