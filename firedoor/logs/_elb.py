"""What the access logs of AWS load balancers have in common: requests, durations, ARNs."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from firedoor.logs._values import endpoints, times

# `GET https://example.com:443/path?query HTTP/1.1`; of what was no request, `- http://host:80- -`.
REQUEST: Final = (
    r"^(?P<method>\S+) (?:[a-z]+://(?P<host>\[[^\]]*\]|[^/:?]*)(?::[0-9]+)?)?"
    r"(?P<path>[^?]*?)(?:\?(?P<query>.*?))?(?: (?:HTTP/[0-9.]+|-) ?)?$"
)
PARTS: Final = ("method", "host", "path", "query")


def requests(read: pa.Table) -> dict[str, Any]:
    """Return the columns of requests that lines of every version tell alike."""
    src_ip, src_port = endpoints(read["client"])
    dst_ip, dst_port = endpoints(read["target"])
    return {
        "time": times(read["time"]),
        "cloud": "aws",
        "src_ip": src_ip,
        "src_port": src_port,
        "dst_ip": dst_ip,
        "dst_port": dst_port,
        **request(read["request"]),
        "user_agent": read["user_agent"],
        "status": read["status"],
        "bytes_in": read["received"],
        "bytes_out": read["sent"],
        "duration": milliseconds(read["request_time"], read["target_time"], read["response_time"]),
        "resource": read["elb"],
    }


def request(texts: pa.Array) -> dict[str, pa.Array]:
    """Return method, host, path and query of requests; each distinct one is looked at once."""
    texts = combined(texts)
    found = pc.extract_regex(texts.dictionary, REQUEST)
    parts = {part: _told(pc.struct_field(found, part)) for part in PARTS}
    parts["host"] = pc.utf8_lower(parts["host"])
    return {part: known.take(texts.indices) for part, known in parts.items()}


def milliseconds(*seconds: pa.Array) -> pa.Array:
    """Return the sum of times; one of -1 says that it did not come to that."""
    total = seconds[0]
    for more in seconds[1:]:
        total = pc.add(total, more)
    came = pc.and_kleene(*(pc.greater_equal(one, 0) for one in seconds[:2]))
    for one in seconds[2:]:
        came = pc.and_kleene(came, pc.greater_equal(one, 0))
    # The log has microseconds at most.
    return pc.if_else(came, pc.round(pc.multiply(total, 1000), 3), None)


def placed(arns: Any, account: str, region: str) -> dict[str, Any]:
    """Return accounts and regions of ARNs; where a line has none, what else is known."""
    arns = combined(arns)
    parts = [arn.split(":") for arn in arns.dictionary.to_pylist()]
    # The ARN of a certificate in IAM has no region.
    told = [(part[4], part[3] or None) if len(part) > 5 else (None, None) for part in parts]
    # An object is of one balancer, so what one line tells holds for those that do not.
    first = next((one for one in told if one[0]), (None, None))
    return {
        name: pc.fill_null(
            pa.array([one[i] for one in told], pa.string()).take(arns.indices),
            known or first[i] or "",
        )
        for i, (name, known) in enumerate({"account": account, "region": region}.items())
    }


def combined(column: Any) -> pa.Array:
    """Return a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _told(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_in(texts, pa.array(["", "-"])), None, texts)
