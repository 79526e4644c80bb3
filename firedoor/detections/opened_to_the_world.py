"""Something of ours was opened to everybody."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import call
from firedoor.model.finding import Side

WORLD: Final = says('"cidrIp":"0.0.0.0/0"', '"cidrIpv6":"::/0"')
# A web server is open to all. Of several rules in one request one could hide another.
WEB_PORTS: Final = says('"fromPort":443,', '"fromPort":80,')
WEB: Final = f"""({WEB_PORTS} AND request NOT LIKE '%"fromPort"%"fromPort"%')"""
ANYBODY: Final = says(
    '"Effect":"Allow","Principal":"*"',
    '"Effect":"Allow","Principal":{"AWS":"*"}',
    '"Effect":"Allow","Principal":{"AWS":["*"]}',
    '"Principal":"*","Effect":"Allow"',
    '"Principal":{"AWS":"*"},"Effect":"Allow"',
)
# What a condition bounds is not open, if it is that of the only statement.
BOUNDED: Final = """(request LIKE '%"Condition%' AND request NOT LIKE '%"Effect%"Effect%')"""
OPEN_LIST: Final = says(
    "groups/global/AllUsers", "groups/global/AuthenticatedUsers",
    '"x-amz-acl":"public', '"x-amz-acl":["public',
)  # fmt: skip
# Azure writes them in any case.
RULE: Final = """lower(request) LIKE '%"access":"allow"%'
    AND lower(request) LIKE '%"direction":"inbound"%'
    AND (lower(request) LIKE '%"sourceaddressprefix":"*"%'
         OR lower(request) LIKE '%"sourceaddressprefix":"internet"%'
         OR lower(request) LIKE '%"sourceaddressprefix":"0.0.0.0/0"%')"""

DETECTION = Detection(
    title="Something is opened to the whole Internet",
    description=(
        "A principal opened a security group at another port than that of the web, a bucket, a"
        " database, a function or a project to everybody. Mostly it is a mistake, and never one to"
        " leave: whoever scans the Internet finds it within minutes."
    ),
    type="Policy:IAMUser/OpenedToTheWorld",
    severity=5,
    techniques=("T1562.007", "T1190"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql=_calls.sql(
        any_of(
            all_of(aws("AuthorizeSecurityGroupIngress"), WORLD, f"NOT {WEB}"),
            all_of(aws("PutBucketPolicy"), ANYBODY, f"NOT {BOUNDED}"),
            all_of(aws("PutBucketAcl", "PutObjectAcl", "CreateBucket"), OPEN_LIST),
            all_of(
                aws(
                    "CreateDBInstance",
                    "CreateDBCluster",
                    "ModifyDBInstance",
                    "ModifyDBCluster",
                    "RestoreDBInstanceFromDBSnapshot",
                    "RestoreDBInstanceToPointInTime",
                    "RestoreDBInstanceFromS3",
                    "CreateDBInstanceReadReplica",
                    "RestoreDBClusterFromSnapshot",
                    "RestoreDBClusterToPointInTime",
                ),
                says('"publiclyAccessible":true'),
            ),
            all_of(aws("UpdateProjectVisibility"), says('"projectVisibility":"PUBLIC')),
            all_of(
                aws("CreateFunctionUrlConfig20211031", "UpdateFunctionUrlConfig20211031"),
                says('"authType":"NONE"'),
            ),
            all_of(azure("microsoft.network/networksecuritygroups/securityrules/write"), RULE),
            all_of(
                azure("microsoft.storage/storageaccounts/write"),
                """lower(request) LIKE '%"allowblobpublicaccess":true%'""",
            ),
            all_of(
                gcp("compute.firewalls.insert", "compute.firewalls.patch"),
                says('"0.0.0.0/0"'),
                says('"alloweds"'),
            ),
            all_of(
                "cloud = 'gcp' AND lower(operation) LIKE '%setiam%'",
                says('"allUsers"', '"allAuthenticatedUsers"'),
            ),
        )
    ),
    summary="{actor} called {operation} of {what}",
    examples=(
        Example(
            "SSH for everybody",
            call(
                "AuthorizeSecurityGroupIngress",
                '{"groupId":"sg-1","fromPort":22,"toPort":22,"cidrIp":"0.0.0.0/0"}',
            ),
            matches=1,
        ),
        Example(
            "SSH behind the web",
            call(
                "AuthorizeSecurityGroupIngress",
                '{"items":[{"fromPort":443,"items":[{"cidrIp":"0.0.0.0/0"}]},'
                '{"fromPort":22,"items":[{"cidrIp":"0.0.0.0/0"}]}]}',
            ),
            matches=1,
        ),
        Example(
            "a bucket for everybody",
            call(
                "PutBucketPolicy",
                '{"bucketPolicy":{"Statement":[{"Effect":"Allow","Principal":"*"}]}}',
            ),
            matches=1,
        ),
        Example(
            "a bucket of GCP for everybody",
            call(
                "storage.setIamPermissions",
                '{"policy":{"bindings":[{"members":["allUsers"]}]}}',
                cloud="gcp",
                actor_type="user",
            ),
            matches=1,
        ),
        Example(
            "the web",
            call(
                "AuthorizeSecurityGroupIngress",
                '{"groupId":"sg-1","fromPort":443,"toPort":443,"cidrIp":"0.0.0.0/0"}',
            ),
            matches=0,
        ),
        Example(
            "one address",
            call(
                "AuthorizeSecurityGroupIngress",
                '{"groupId":"sg-1","fromPort":22,"toPort":22,"cidrIp":"198.51.100.7/32"}',
            ),
            matches=0,
        ),
        Example(
            "a bucket that refuses everybody who does not encrypt",
            call(
                "PutBucketPolicy",
                '{"bucketPolicy":{"Statement":[{"Effect":"Deny","Principal":"*"}]}}',
            ),
            matches=0,
        ),
        Example(
            "a bucket for whoever is in the own network",
            call(
                "PutBucketPolicy",
                '{"Statement":[{"Effect":"Allow","Principal":"*","Condition":{"StringEquals":'
                '{"aws:SourceVpc":"vpc-1"}}}]}',
            ),
            matches=0,
        ),
    ),
)
