"""Others, or their identity provider, were let in as one of ours."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import call
from firedoor.model.finding import Side

MOST: Final = 5
"""How many principals of the own account may be in a policy before it is told nevertheless."""
OWN: Final = "' || coalesce(account, '') || '"
# Of a policy that names so many principals, all are of the own account.
INSIDE: Final = any_of(
    *(
        f"request LIKE '{f'%:iam::{OWN}:' * number}%'"
        f" AND request NOT LIKE '{'%:iam::' * (number + 1)}%'"
        for number in range(1, MOST + 1)
    )
)
EVERYBODY: Final = says(
    '"Effect":"Allow","Principal":"*"',
    '"Effect":"Allow","Principal":{"AWS":"*"}',
    '"Principal":"*","Effect":"Allow"',
    '"Principal":{"AWS":"*"},"Effect":"Allow"',
)
OUTSIDE: Final = all_of(
    says('"Principal"'),
    says('"Allow"'),
    any_of("request LIKE '%:iam::%'", EVERYBODY),
    f"NOT ({INSIDE})",
    # The content network reads a bucket as a user of its own.
    "request NOT LIKE '%:iam::cloudfront:%' OR request LIKE '%:iam::%:iam::%'",
)

DETECTION = Detection(
    title="Somebody outside is trusted",
    description=(
        "A principal let another account assume a role, read a bucket, use a key or call a"
        " function, or trusted an identity provider. An attacker comes back so when all keys are"
        " revoked. Suppliers are let in the same way, so look whose account it is."
    ),
    type="Persistence:IAMUser/TrustGiven",
    severity=5,
    techniques=("T1098", "T1484.002", "T1546"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql=_calls.sql(
        any_of(
            all_of(
                aws(
                    "UpdateAssumeRolePolicy",
                    "CreateRole",
                    "PutBucketPolicy",
                    "PutKeyPolicy",
                    "PutResourcePolicy",
                    "SetRepositoryPolicy",
                ),
                OUTSIDE,
                # That is told by opened_to_the_world.
                "operation <> 'PutBucketPolicy' OR request LIKE '%:iam::%'",
            ),
            all_of(
                "cloud = 'aws' AND service = 'lambda.amazonaws.com'",
                "operation LIKE 'AddPermission%'",
                says('"principal":"'),
                "request NOT LIKE '%.amazonaws.com\"%'",
                f"""request NOT LIKE '%"principal":"{OWN}"%'""",
                f"""request NOT LIKE '%"principal":"arn:aws:iam::{OWN}:%'""",
            ),
            aws(
                "CreateSAMLProvider",
                "UpdateSAMLProvider",
                "CreateOpenIDConnectProvider",
                "CreateTrustAnchor",
            ),
            azure("set federation settings on domain", "set domain authentication"),
            gcp(
                "createworkforcepool",
                "updateworkforcepool",
                "createworkforcepoolprovider",
                "updateworkforcepoolprovider",
                "createworkloadidentitypool",
                "updateworkloadidentitypool",
                "createworkloadidentitypoolprovider",
                "updateworkloadidentitypoolprovider",
            ),
        )
    ),
    summary="{actor} called {operation} of {what}",
    examples=(
        Example(
            "a role for another account",
            call(
                "UpdateAssumeRolePolicy",
                r'{"policyDocument":"{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":'
                r'[\"arn:aws:iam::123456789012:root\",\"arn:aws:iam::210987654321:root\"]}}"}',
            ),
            matches=1,
        ),
        Example(
            "a function for everybody",
            call(
                "AddPermission20150331v2",
                '{"functionName":"f","principal":"*"}',
                service="lambda.amazonaws.com",
            ),
            matches=1,
        ),
        Example("an identity provider", call("CreateSAMLProvider"), matches=1),
        Example(
            "a pool of identities",
            call(
                "google.iam.v1beta.WorkloadIdentityPools.CreateWorkloadIdentityPoolProvider",
                cloud="gcp",
                actor_type="user",
            ),
            matches=1,
        ),
        Example(
            "a role for two of the own account",
            call(
                "UpdateAssumeRolePolicy",
                r'{"policyDocument":"{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":'
                r'[\"arn:aws:iam::123456789012:root\",\"arn:aws:iam::123456789012:user/a\"]}}"}',
            ),
            matches=0,
        ),
        Example(
            "a role for a service",
            call(
                "UpdateAssumeRolePolicy",
                r'{"policyDocument":"{\"Principal\":{\"Service\":\"ec2.amazonaws.com\"}}"}',
            ),
            matches=0,
        ),
        Example(
            "a bucket for the content network",
            call(
                "PutBucketPolicy",
                '{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::cloudfront:user/E1"}}',
            ),
            matches=0,
        ),
        Example(
            "a bucket that refuses everybody who does not encrypt",
            call("PutBucketPolicy", '{"Effect":"Deny","Principal":"*"}'),
            matches=0,
        ),
        Example(
            "a function for a topic",
            call(
                "AddPermission20150331v2",
                '{"functionName":"f","principal":"sns.amazonaws.com"}',
                service="lambda.amazonaws.com",
            ),
            matches=0,
        ),
    ),
)
