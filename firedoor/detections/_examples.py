"""What the examples of detections begin with: one ordinary row of each relation, and many of it."""

from collections.abc import Iterable
from typing import Any, Final

Row = dict[str, Any]

TIME: Final = 1_780_000_000_000
"""2026-05-28T20:26:40Z."""
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

PLACE: Final[Row] = {
    "time": TIME, "cloud": "aws", "account": "123456789012", "region": "eu-central-1",
}  # fmt: skip
INBOUND: Final[Row] = {
    **PLACE, "src_ip": "198.51.100.7", "src_port": 40_000, "dst_ip": "10.0.1.5", "dst_port": 443,
    "protocol": 6, "direction": "Inbound", "action": "Allowed", "packets": 10, "bytes": 4_000,
    "interface": "eni-0a1b2c3d4e5f60718", "resource": "i-0a1b2c3d4e5f60718",
    "network": "vpc-0a1b2c3d4e5f60718",
}  # fmt: skip
DENIED: Final[Row] = INBOUND | {"action": "Denied", "packets": 1, "bytes": 40}
OUTBOUND: Final[Row] = INBOUND | {
    "src_ip": "10.0.1.5", "dst_ip": "203.0.113.9", "direction": "Outbound",
}  # fmt: skip
QUERY: Final[Row] = {
    **PLACE, "src_ip": "10.0.1.5", "hostname": "www.example.com", "domain": "example.com",
    "suffix": "com", "subdomain": "www", "entropy": 2.9, "generated": 0.0, "type": "A",
    "rcode": "NOERROR", "resource": "i-0a1b2c3d4e5f60718", "network": "vpc-0a1b2c3d4e5f60718",
}  # fmt: skip
CALL: Final[Row] = {
    **PLACE, "service": "ec2.amazonaws.com", "operation": "DescribeInstances",
    "actor_type": "IAMUser", "actor": "app", "actor_account": "123456789012",
    "credential": "AKIAIOSFODNN7EXAMPLE", "src_ip": "198.51.100.7", "status": "Success",
    "denied": False, "read_only": True,
}  # fmt: skip
REQUEST: Final[Row] = {
    **PLACE, "src_ip": "198.51.100.7", "method": "GET", "host": "www.example.com", "path": "/",
    "status": 200, "action": "Allowed", "resource": "app/web/0123456789abcdef",
}  # fmt: skip
LOGIN: Final[Row] = {
    **PLACE, "activity": "Logon", "service": "signin.amazonaws.com", "user_type": "IAMUser",
    "user_name": "alice", "src_ip": "198.51.100.7", "status": "Success", "mfa": True,
}  # fmt: skip
FAILED: Final[Row] = LOGIN | {"status": "Failure", "mfa": False}

CHANGE: Final[Row] = CALL | {"read_only": False}


def call(operation: str, request: str | None = None, **row: Any) -> dict[str, tuple[Row, ...]]:
    """Return one call that changes something."""
    return {"api_activity": (CHANGE | {"operation": operation, "request": request} | row,)}


def each(row: Row, column: str, values: Iterable[Any]) -> tuple[Row, ...]:
    """Return a row once for each value of a column."""
    return tuple({**row, column: value} for value in values)


def every(row: Row, gap: int, count: int) -> tuple[Row, ...]:
    """Return a row again and again, up to now, with so many milliseconds between."""
    return each(row, "time", range(TIME - (count - 1) * gap, TIME + 1, gap))
