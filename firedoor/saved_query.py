"""The contract of a saved query: a question to the logs that is asked again and again."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SavedQuery:
    """One question. Its id is the name of its module below `firedoor.queries`: `top_talkers`.

    `sql` is of the subset that runs on DuckDB and Athena alike (`firedoor.lake.portable`), and is
    bounded by `:since` and `:until`, epoch milliseconds. The order of its answer is a whole one, so
    that what a LIMIT cuts off is the same each time.
    """

    title: str
    description: str
    sql: str
    params: Mapping[str, int | float | str] = field(default_factory=dict)
    """The other parameters that it names, and their defaults."""
