"""What every engine has in common, and the addresses that an answer tells by their keys."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Protocol

import pyarrow as pa

from firedoor.lake import portable

Params = Mapping[str, portable.Value]


class Engine(Protocol):
    """What can be asked: DuckDB over what is kept here, or Athena over the same in the cloud."""

    def ask(self, sql: str, params: Params | None = None) -> pa.Table:
        """Return the answer to a query."""
        ...


def addresses(
    keys: Iterable[int | None], sql: str, engine: Engine, bounds: Params
) -> dict[int, str]:
    """Return the addresses of keys in the answer to a query.

    The key of an IPv4 address is the address itself. Those of IPv6 are looked up, in the relations
    that the query looks at, between `:since` and `:until` of `bounds`.
    """
    wanted = {key for key in keys if key is not None and key < 1 << 32}  # others are sums
    found = {key: str(IPv4Address(key)) for key in wanted if key >= 0}
    hidden = sorted(key for key in wanted if key < 0)
    if not hidden:
        return found
    listed = ", ".join(map(str, hidden))
    for relation, columns in portable.columns(sql).items():
        for side in ("src", "dst"):
            if f"{side}_key" in columns:
                lookup = (
                    f"SELECT {side}_key AS key, max({side}_ip) AS ip FROM {relation}"  # noqa: S608
                    " WHERE time >= :since AND time < :until"
                    f" AND {side}_key IN ({listed}) GROUP BY {side}_key"
                )
                found |= {one["key"]: one["ip"] for one in engine.ask(lookup, bounds).to_pylist()}
    return found
