"""The contract of a detection: SQL over our relations, and what a row of its answer means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from firedoor.model.finding import Side

Value = int | float | str
"""What a parameter of a query can be."""


class About(StrEnum):
    """What a finding is about, and so which columns of a row name its subject."""

    RESOURCE = "resource"
    """`resource`; where that is null, `interface` or `network`, and else the local address."""
    PRINCIPAL = "principal"
    """`actor_type` and `actor`, in the words of the cloud, and `actor_account`."""
    ACCOUNT = "account"
    """`account` alone."""


@dataclass(frozen=True)
class Example:
    """Rows of a relation or several, by name, that must or must not match, and why."""

    name: str
    rows: Mapping[str, tuple[Mapping[str, Any], ...]]
    """Only the columns that matter; `firedoor.detecting.tables` fills in the others."""
    matches: int
    """How many rows the answer has: 0 where it must not match."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One rule. Its id is the name of its module below `firedoor.detections`: `port_scan`.

    `sql` is of the subset that runs on DuckDB and Athena alike (`firedoor.lake.portable`). It names
    parameters as `:threshold`; `:since` and `:until`, epoch milliseconds, bound `time` and are
    given for `window`, and `:earlier` for the `history` before it. A row of its answer is a match,
    whose columns are understood by their names:

    - `cloud`, `account`, `region` where it was, and the columns of `about`
    - `actor_account` where that of a principal is another
    - `first_seen`, `last_seen` in epoch milliseconds, `count` of what was seen
    - `remote_key`, `local_key` addresses by their keys; `port`, `domain`, `credential`
    - whatever else `summary` names, as `{amount}`
    """

    title: str
    description: str
    type: str
    """In the grammar of GuardDuty: `Recon:Network/PortScan`; runbooks are chosen by it."""
    severity: float
    """0 to 10, with the bounds of GuardDuty."""
    techniques: tuple[str, ...]
    """MITRE ATT&CK ids."""
    about: About
    side: Side
    window: timedelta
    """How much time one evaluation looks at; matches of a subject in it are one finding."""
    history: timedelta = timedelta(0)
    """How much before the window it compares with; `:earlier` is when that begins."""
    sql: str
    summary: str
    """What happened, in a sentence that names columns of the row: `{remote_ip} tried {count} ...`;
    `remote_ip` and `local_ip` are the texts of the keys."""
    params: Mapping[str, Value] = field(default_factory=dict)
    """The parameters and their defaults, which an installation may change."""
    examples: tuple[Example, ...] = ()

    @property
    def reach(self) -> timedelta:
        """How far back the rows lie that it has to be given."""
        return self.window + self.history
