"""Somebody read many secrets, more than ever before."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import CALL, HOUR, TIME, each
from firedoor.model.finding import Side

ONE: Final = any_of(
    aws("GetSecretValue", "GetPasswordData"),
    all_of(aws("GetParameter"), says('"withDecryption":true')),
    all_of(aws("DescribeInstanceAttribute"), says('"attribute":"userData"')),
    azure("microsoft.storage/storageaccounts/listkeys/action"),
    gcp("secretmanagerservice.accesssecretversion"),
)
MANY: Final = any_of(
    aws("BatchGetSecretValue"),
    all_of(aws("GetParameters", "GetParametersByPath"), says('"withDecryption":true')),
)
READ: Final = {
    **CALL, "service": "secretsmanager.amazonaws.com", "operation": "GetSecretValue",
}  # fmt: skip
REQUESTS: Final = [f'{{"secretId":"secret-{number}"}}' for number in range(10)]

DETECTION = Detection(
    title="Very many secrets are read",
    description=(
        "A principal read, or tried to read, many different secrets, parameters, passwords or user"
        " data of machines within an hour, and more than in the two weeks before all together. What"
        " copies secrets to elsewhere does so all the time, and does not count."
    ),
    type="CredentialAccess:IAMUser/SecretsRead",
    severity=6,
    techniques=("T1555.006", "T1552.005", "T1552.001"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    history=timedelta(days=14),
    params={"secrets": 10, "batch": 5},
    # Of a request for many it is not told how many they were.
    sql=f"""
        WITH calls AS (
            SELECT cloud, account, actor_type, actor, actor_account, credential, src_key,
                   operation, time, time >= :since AS now, {ONE} AS single,
                   coalesce(request, '') || coalesce(resource, '') AS what
            FROM api_activity
            WHERE time >= :earlier AND time < :until AND (status = 'Success' OR denied)
              AND actor IS NOT NULL AND ({ONE} OR {MANY})
        ),
        counted AS (
            SELECT cloud, account, actor_type, actor, max(actor_account) AS actor_account,
                   max(CASE WHEN now THEN credential END) AS credential,
                   max(CASE WHEN now THEN src_key END) AS remote_key,
                   max(CASE WHEN now THEN operation END) AS operation,
                   count(DISTINCT CASE WHEN now AND single THEN what END)
                   + :batch * count(DISTINCT CASE WHEN now AND NOT single
                                    THEN what || CAST(time AS VARCHAR) END) AS secrets,
                   count(*) FILTER (WHERE now) AS count,
                   count(*) FILTER (WHERE NOT now) AS before,
                   min(CASE WHEN now THEN time END) AS first_seen, max(time) AS last_seen
            FROM calls
            GROUP BY cloud, account, actor_type, actor
        )
        SELECT cloud, account, 'global' AS region, actor_type, actor, actor_account, credential,
               remote_key, operation, secrets, count, first_seen, last_seen
        FROM counted
        WHERE secrets >= :secrets AND before < count
    """,  # noqa: S608
    summary="{actor} asked for {secrets} secrets or more in {count} calls, as by {operation}",
    examples=(
        Example("ten secrets", {"api_activity": each(READ, "request", REQUESTS)}, matches=1),
        Example(
            "two batches",
            {
                "api_activity": tuple(
                    {**READ, "operation": "BatchGetSecretValue", "time": TIME - number}
                    for number in range(2)
                )
            },
            matches=1,
        ),
        Example("one fewer", {"api_activity": each(READ, "request", REQUESTS[1:])}, matches=0),
        Example(
            "one secret, again and again",
            {"api_activity": ({**READ, "request": REQUESTS[0]},) * 50},
            matches=0,
        ),
        Example(
            "what copies them each hour",
            {
                "api_activity": tuple(
                    {**row, "time": TIME - hour * HOUR}
                    for row in each(READ, "request", REQUESTS)
                    for hour in range(3)
                )
            },
            matches=0,
        ),
    ),
)
