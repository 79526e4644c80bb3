"""Many objects of buckets read by one principal from outside."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL
from firedoor.model.finding import Side

READ = {**CALL, "service": "s3.amazonaws.com", "operation": "GetObject", "resource": "customers"}

DETECTION = Detection(
    title="Very many objects are read from outside",
    description=(
        "A principal read very many objects of buckets within an hour from an address outside. It"
        " takes logs of data events. Who delivers to a partner does so as well: raise `objects`."
    ),
    type="Exfiltration:IAMUser/ObjectsRead",
    severity=6,
    techniques=("T1530",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"objects": 5000},
    sql="""
        SELECT cloud, account, 'global' AS region, actor_type, actor,
               max(actor_account) AS actor_account, max(credential) AS credential,
               src_key AS remote_key, max(resource) AS what, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND status = 'Success' AND NOT src_inside
          AND operation IN ('GetObject', 'storage.objects.get')
        GROUP BY cloud, account, actor_type, actor, src_key
        HAVING count(*) >= :objects
    """,
    summary="{actor} read {count} objects from {remote_ip}, as of {what}",
    examples=(
        Example("five thousand", {"api_activity": (READ,) * 5000}, matches=1),
        Example("one fewer", {"api_activity": (READ,) * 4999}, matches=0),
        Example(
            "a service of our own, by way of an endpoint",
            {"api_activity": ({**READ, "src_ip": "10.0.1.5"},) * 5000},
            matches=0,
        ),
    ),
)
