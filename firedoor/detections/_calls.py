"""What the rules about single calls have in common: their SQL, and what a request says."""

from typing import Final

DONE: Final = "status = 'Success'"

_COLUMNS: Final = """cloud, account, 'global' AS region, actor_type, actor,
               max(actor_account) AS actor_account, max(src_key) AS remote_key"""


def sql(condition: str, outcome: str = DONE) -> str:
    """Return the query for calls of a principal that end so and fulfil a condition."""
    return f"""
        SELECT {_COLUMNS}, operation, max(credential) AS credential,
               max(coalesce(resource, 'what it did not name')) AS what,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND {outcome} AND ({condition})
        GROUP BY cloud, account, actor_type, actor, operation
    """  # noqa: S608


def newcomers(condition: str, outcome: str = DONE) -> str:
    """Return the same for principals that did nothing of it in the history."""
    return f"""
        SELECT {_COLUMNS}, min(operation) AS operation, max(credential) AS credential,
               max(coalesce(resource, 'what it did not name')) AS what,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :earlier AND time < :until AND {outcome} AND ({condition})
          AND coalesce(actor_type, '') <> 'AWSService'
        GROUP BY cloud, account, actor_type, actor
        HAVING min(time) >= :since
    """  # noqa: S608


def aws(*operations: str) -> str:
    """Return the condition that a call is one of these of AWS."""
    return f"cloud = 'aws' AND operation IN ({_listed(operations)})"


def azure(*operations: str) -> str:
    """Return the condition that a call is one of these of Azure, in lower case."""
    return f"cloud = 'azure' AND lower(operation) IN ({_listed(operations)})"


def gcp(*endings: str) -> str:
    """Return the condition that a call of GCP ends so, in lower case: versions come first."""
    likes = [f"lower(operation) LIKE '%{ending}'" for ending in endings]
    return f"cloud = 'gcp' AND ({' OR '.join(likes)})"


def says(*pieces: str) -> str:
    """Return the condition that a request has one of these pieces of compact JSON in it.

    A policy is often a text within it: so its quotes are escaped, and there may be spaces.
    """
    spaced = [piece.replace('":', '": ').replace('","', '", "') for piece in pieces]
    both = [*dict.fromkeys([*pieces, *spaced])]
    escaped = [piece.replace('"', '\\"') for piece in both]
    likes = [f"request LIKE '%{piece}%'" for piece in (*both, *escaped)]
    return f"({' OR '.join(likes)})"


def all_of(*conditions: str) -> str:
    """Return the condition that all of these are fulfilled."""
    return " AND ".join(f"({condition})" for condition in conditions)


def any_of(*conditions: str) -> str:
    """Return the condition that one of these is fulfilled."""
    return " OR ".join(f"({condition})" for condition in conditions)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)
