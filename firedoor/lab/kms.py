"""KMS: AWS's own keys are AWS's, and grants let another account in.

AWS, and in brackets moto:

- A key with an alias `alias/aws/…` is managed by AWS (by the customer).
- CreateGrant takes the id or ARN of a key, no alias (takes it). The same grant with the same name
  is made once (each time). A grant has a date, an issuer and its key's ARN (has none).
- DescribeKey of another account's key answers whom a grant lets (nobody).
"""

import json
import time
from typing import Any

from moto.kms.exceptions import AccessDeniedException, NotFoundException
from moto.kms.models import Grant, Key, KmsBackend, kms_backends
from moto.kms.responses import KmsResponse

from firedoor.lab import patch


def install() -> None:
    """Set moto's KMS right."""
    Key.key_manager = property(_manager, lambda *_: None)  # type: ignore[assignment]
    patch.around(Key, "add_grant", _once)
    patch.around(Grant, "to_json", _dated)
    patch.around(KmsBackend, "create_grant", _no_alias)
    patch.around(KmsResponse, "describe_key", _foreign)


def resolve(key: str, account: str, region: str) -> str | None:
    """Return the ARN of an account's key, named by ARN, id or alias; None if there is none."""
    backend = kms_backends[account][region]
    if key.startswith("alias/") and not backend.alias_exists(key):
        return None
    found = backend.keys.get(backend.any_id_to_key_id(key))
    return str(found.arn) if found else None


def usable(arn: str, account: str) -> bool:
    """Return whether a grant lets an account use another one's key."""
    key = _by_arn(arn)
    return key is not None and any(
        grant.grantee_principal.split(":")[4] == account for grant in key.grants.values()
    )


def _by_arn(arn: str) -> Key | None:
    _, _, _, region, owner, resource = arn.split(":", 5)
    return kms_backends[owner][region].keys.get(resource.removeprefix("key/"))


def _manager(key: Key) -> str:
    return "AWS" if any(name.startswith("alias/aws/") for name in key.aliases) else "CUSTOMER"


def _once(add: Any, key: Key, name: str, *args: Any, **kwargs: Any) -> Grant:
    same = [grant for grant in key.grants.values() if name and grant.name == name]
    grant: Any = same[0] if same else add(key, name, *args, **kwargs)
    grant.key_id = key.arn
    grant.made_at = vars(grant).get("made_at", time.time())
    return grant  # type: ignore[no-any-return]


def _dated(to_json: Any, grant: Grant) -> dict[str, Any]:
    issuer = f"arn:aws:iam::{grant.key_id.split(':')[4]}:root"
    said = {name: value for name, value in to_json(grant).items() if value is not None}
    return {**said, "CreationDate": vars(grant)["made_at"], "IssuingAccount": issuer}


def _no_alias(create: Any, backend: KmsBackend, key_id: str, *args: Any, **kwargs: Any) -> Any:
    if "alias/" in key_id:
        raise NotFoundException(f"Invalid keyId {key_id}")
    return create(backend, key_id, *args, **kwargs)


def _foreign(describe: Any, self: KmsResponse) -> Any:
    key = str(self._get_param("KeyId"))
    if not key.startswith("arn:") or key.split(":")[4] == self.current_account:
        return describe(self)
    found = _by_arn(key)
    if found is None or not usable(key, self.current_account):
        raise AccessDeniedException(
            f"not authorized to perform: kms:DescribeKey on resource: {key} because the resource"
            " does not exist in this Region, no resource-based policies allow access, or a"
            " resource-based policy explicitly denies access"
        )
    return json.dumps(found.to_dict())
