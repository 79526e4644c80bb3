"""Calls of a principal from a network from which it did not call in the weeks before."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL, DAY, HOUR, TIME
from firedoor.model.finding import Side

HABIT = tuple({**CALL, "time": TIME - DAY - number * HOUR} for number in range(50))
ELSEWHERE = {**CALL, "src_ip": "203.0.113.66"}

DETECTION = Detection(
    title="Credentials used from a new network",
    description=(
        "A principal called from a network (of 65,536 addresses; all of IPv6 is taken as one) from"
        " which it did not call in the two weeks before, although it called often, and from few"
        " networks. Services of the cloud that call for it, and addresses inside, do not count."
    ),
    type="UnauthorizedAccess:IAMUser/NewNetwork",
    severity=5,
    techniques=("T1078.004",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    history=timedelta(days=14),
    params={"calls": 50, "networks": 5},
    sql="""
        WITH calls AS (
            SELECT cloud, account, actor_type, actor, actor_account, credential, operation, time,
                   src_key, CASE WHEN src_key < 0 THEN -1 ELSE src_key - src_key % 65536 END AS net
            FROM api_activity
            WHERE time >= :earlier AND time < :until AND NOT src_inside AND actor IS NOT NULL
              AND coalesce(actor_type, '') <> 'AWSService'
        ),
        networks AS (
            SELECT cloud, account, actor_type, actor, net,
                   max(actor_account) AS actor_account,
                   max(CASE WHEN time >= :since THEN credential END) AS credential,
                   max(CASE WHEN time >= :since THEN operation END) AS operation,
                   max(CASE WHEN time >= :since THEN src_key END) AS src_key,
                   count(*) FILTER (WHERE time < :since) AS before,
                   count(*) FILTER (WHERE time >= :since) AS count,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM calls
            GROUP BY cloud, account, actor_type, actor, net
        ),
        known AS (
            SELECT cloud, account, actor_type, actor, actor_account, credential, operation,
                   src_key, before, count, first_seen, last_seen,
                   sum(before) OVER (PARTITION BY cloud, account, actor_type, actor) AS calls,
                   sum(CASE WHEN before > 0 THEN 1 ELSE 0 END)
                       OVER (PARTITION BY cloud, account, actor_type, actor) AS networks
            FROM networks
        )
        SELECT cloud, account, 'global' AS region, actor_type, actor, actor_account, credential,
               operation, src_key AS remote_key, count, networks, first_seen, last_seen
        FROM known
        WHERE before = 0 AND count > 0 AND calls >= :calls AND networks <= :networks
    """,
    summary=(
        "{actor} made {count} calls from {remote_ip}, as {operation}; it is known from {networks}"
        " other networks"
    ),
    examples=(
        Example("a call from elsewhere", {"api_activity": (*HABIT, ELSEWHERE)}, matches=1),
        Example(
            "one call too few to know its habits",
            {"api_activity": (*HABIT[1:], ELSEWHERE)},
            matches=0,
        ),
        Example(
            "another address of the same network",
            {"api_activity": (*HABIT, {**CALL, "src_ip": "198.51.100.99"})},
            matches=0,
        ),
        Example(
            "somebody who travels",
            {
                "api_activity": (
                    *(
                        {**row, "src_ip": f"198.{number % 6}.1.1"}
                        for number, row in enumerate(HABIT)
                    ),
                    ELSEWHERE,
                )
            },
            matches=0,
        ),
        Example(
            "a service of the cloud that calls for it",
            {"api_activity": (*HABIT, {**CALL, "src_ip": None, "src_name": "ec2.amazonaws.com"})},
            matches=0,
        ),
        Example(
            "by way of an endpoint inside",
            {"api_activity": (*HABIT, {**CALL, "src_ip": "10.0.1.5"})},
            matches=0,
        ),
    ),
)
