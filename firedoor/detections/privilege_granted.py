"""Somebody was given the right to everything."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, says
from firedoor.detections._examples import call
from firedoor.model.finding import Side

MANAGED: Final = says(
    ":policy/AdministratorAccess", ":policy/IAMFullAccess", ":policy/PowerUserAccess"
)
EVERYTHING: Final = says('"Action":"*"', '"Action":["*"]', '"Action":"iam:*"', '"Action":["iam:*"')
ROLES: Final = " OR ".join(
    f"lower(request) LIKE '%{role}%'"
    for role in (
        "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",  # Owner
        "b24988ac-6180-42a0-ab88-20f7382dd24c",  # Contributor
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",  # User Access Administrator
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",  # Role Based Access Control Administrator
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",  # Storage Blob Data Owner
    )
)

DETECTION = Detection(
    title="Somebody is given the right to everything",
    description=(
        "A principal attached a policy of administrators, wrote one that allows every action, or"
        " made somebody owner. Who sets up an account does so; an attacker, to keep what he has."
    ),
    type="PrivilegeEscalation:IAMUser/PrivilegeGranted",
    severity=6,
    techniques=("T1098.003", "T1098"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql=_calls.sql(
        any_of(
            all_of(aws("AttachUserPolicy", "AttachRolePolicy", "AttachGroupPolicy"), MANAGED),
            all_of(
                aws(
                    "PutUserPolicy",
                    "PutRolePolicy",
                    "PutGroupPolicy",
                    "CreatePolicyVersion",
                    "CreatePolicy",
                    "GetFederationToken",
                ),
                EVERYTHING,
            ),
            all_of(
                aws("AssociateAccessPolicy"), says(":cluster-access-policy/AmazonEKSClusterAdmin")
            ),
            azure("microsoft.authorization/elevateaccess/action"),
            all_of(azure("microsoft.authorization/roleassignments/write"), ROLES),
        )
    ),
    summary="{actor} called {operation} of {what}",
    examples=(
        Example(
            "administrator",
            call(
                "AttachUserPolicy",
                '{"userName":"bob","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess"}',
            ),
            matches=1,
        ),
        Example(
            "a policy that allows everything",
            call(
                "PutUserPolicy",
                r'{"policyDocument":"{\"Effect\": \"Allow\", \"Action\": \"*\"}"}',
            ),
            matches=1,
        ),
        Example(
            "an owner",
            call(
                "Microsoft.Authorization/roleAssignments/write",
                '{"RoleDefinitionId":"/x/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"}',
                cloud="azure",
                actor_type="User",
            ),
            matches=1,
        ),
        Example(
            "who may only look",
            call(
                "AttachUserPolicy",
                '{"userName":"bob","policyArn":"arn:aws:iam::aws:policy/ReadOnlyAccess"}',
            ),
            matches=0,
        ),
        Example(
            "all of one bucket",
            call(
                "PutUserPolicy",
                r'{"policyDocument":"{\"Action\":\"s3:*\",\"Resource\":\"*\"}"}',
            ),
            matches=0,
        ),
        Example(
            "a token that may do little",
            call("GetFederationToken", r'{"policy":"{\"Action\":\"s3:GetObject\"}"}'),
            matches=0,
        ),
    ),
)
