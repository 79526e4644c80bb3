"""Requests at which a security policy of Google Cloud Armor was asked, and what it decided.

They stand in the log of the load balancer, whose other requests are `gcp_load_balancer`.
"""

from firedoor.log_source import Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs import _gcp_balancing
from firedoor.logs._gcp_balancing import Entry
from firedoor.relations import HTTP_ACTIVITY


def recognises(sample: Sample) -> bool:
    """Tell a load balancer's requests that have a policy."""
    return _gcp_balancing.is_request(sample) and _gcp_balancing.has_policy(sample)


def parse(piece: Piece) -> Parsed:
    """Return the requests."""
    columns = _gcp_balancing.request_columns(piece, "gcp_armor")
    return records(Entry, Into(HTTP_ACTIVITY, columns, _requests))(piece)


SOURCE = LogSource(
    title="Google Cloud Armor logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _requests(entry: Entry) -> tuple[Entry, ...]:
    _gcp_balancing.require_request(entry, policy=True)
    return (entry,)
