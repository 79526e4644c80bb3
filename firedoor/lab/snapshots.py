"""EBS snapshots: taking and copying them takes time and keys, sharing them shows, locks hold.

AWS, and in brackets moto:

- A snapshot is pending before it is completed (completed at once). It stays so here for as many
  seconds as the tag `lab:seconds` of its volume says; without the tag moto is right.
- What is shared with an account can be seen and copied there (only by its owner).
- A copy of a snapshot that is not completed is refused, and so is the 21st at once (both taken).
- A copy without the right to use the source's key, or with a key that does not exist, is made and
  then fails, with a state message (is made).
- A copy names an arbitrary volume, and the key that encrypts it (the source's volume, no key).
- What AWS's own key encrypts, or the Marketplace sells, cannot be shared (can). A volume is of the
  Marketplace here if it has the tag `lab:product-code`.
- LockSnapshot, UnlockSnapshot and DescribeLockedSnapshots, and a locked snapshot cannot be deleted;
  DescribeVolumeAttribute; DescribeSnapshots by owner; ListSnapshotBlocks and GetSnapshotBlock of
  EC2's snapshots (none).
"""

import base64
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.ebs.models import ebs_backends
from moto.ebs.responses import EBSResponse
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses import EC2Response
from moto.ec2.utils import random_snapshot_id

from firedoor.lab import patch
from firedoor.lab.kms import resolve, usable

SECONDS, PRODUCT_CODE = "lab:seconds", "lab:product-code"

COPIES_AT_ONCE = 20
COPY_VOLUME = "vol-ffffffff"
BLOCK = 512 * 1024

_UNUSABLE = (
    "Given key ID is not accessible. You must have DescribeKey permissions on the default CMK"
)


def install() -> None:
    """Set moto's snapshots right."""
    for name, reader in (
        ("status", _state),
        ("progress", _progress),
        ("volume_id", _volume_id),
        ("state_message", _message),
        ("completion_time", _completed_at),
    ):
        setattr(Snapshot, name, property(reader, lambda *_: None))
    patch.around(EC2Backend, "create_snapshot", _taken)
    patch.around(EC2Backend, "describe_snapshots", _visible)
    patch.around(EC2Backend, "copy_snapshot", _copied)
    patch.around(EC2Backend, "add_create_volume_permission", _shareable)
    patch.around(EC2Backend, "delete_snapshot", _unless_locked)
    patch.around(EC2Response, "describe_snapshots", _owned)
    patch.add(
        EC2Response,
        lock_snapshot,
        unlock_snapshot,
        describe_locked_snapshots,
        describe_volume_attribute,
    )
    patch.add(EBSResponse, list_snapshot_blocks, get_snapshot_block)


def lock_snapshot(self: EC2Response) -> ActionResult:
    """Lock a snapshot, or change its lock as far as its mode lets one."""
    id, mode = self._get_param("SnapshotId"), self._get_param("LockMode")
    cool_off = self._get_param("CoolOffPeriod")
    days = self._get_param("LockDuration")
    if mode == "governance" and cool_off:
        _refuse("InvalidParameterCombination", "CoolOffPeriod is for compliance mode only.")
    if not days:
        _refuse("MissingParameter", "Either LockDuration or ExpirationDate is needed.")
    snapshot: Any = self.ec2_backend.get_snapshot(id)
    if _lock_state(snapshot) == "compliance":
        held = snapshot.lock
        if mode != "compliance" or int(days) < held["LockDuration"]:
            _refuse("OperationNotPermitted", f"{id} is locked in compliance mode.")
    now = datetime.now(UTC)
    snapshot.lock = {
        "LockMode": mode,
        "LockDuration": int(days),
        "LockCreatedOn": now,
        "LockDurationStartTime": now,
        "LockExpiresOn": now + timedelta(days=int(days)),
    }
    if cool_off:
        snapshot.lock["CoolOffPeriod"] = int(cool_off)
        snapshot.lock["CoolOffPeriodExpiresOn"] = now + timedelta(hours=int(cool_off))
    return ActionResult(_lock_of(snapshot))


def unlock_snapshot(self: EC2Response) -> ActionResult:
    """Take a lock away that is not for good."""
    snapshot: Any = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
    if _lock_state(snapshot) == "compliance":
        _refuse("OperationNotPermitted", f"{snapshot.id} is locked in compliance mode.")
    snapshot.lock = None
    return ActionResult({"SnapshotId": snapshot.id})


def describe_locked_snapshots(self: EC2Response) -> ActionResult:
    """List the locks."""
    wanted = self._get_param("SnapshotIds", [])
    found = [self.ec2_backend.get_snapshot(id) for id in wanted] or list(
        self.ec2_backend.snapshots.values()
    )
    return ActionResult({"Snapshots": [_lock_of(one) for one in found if _lock_state(one)]})


def describe_volume_attribute(self: EC2Response) -> ActionResult:
    """Say whether a volume is of the Marketplace."""
    volume = self.ec2_backend.get_volume(self._get_param("VolumeId"))
    code = _tag(volume, PRODUCT_CODE)
    codes = [{"ProductCodeId": code, "ProductCodeType": "marketplace"}] if code else []
    return ActionResult({"VolumeId": volume.id, "ProductCodes": codes})


def list_snapshot_blocks(self: EBSResponse) -> ActionResult:
    """List a block for each GiB, as if one had been written in each, in pages."""
    snapshot = _of_direct_api(self)
    first = int(self._get_param("StartingBlockIndex") or self._get_param("NextToken") or 0)
    most = int(self._get_param("MaxResults") or 10_000)
    written = [i for i in _written(snapshot) if i >= first]
    blocks = [{"BlockIndex": i, "BlockToken": _block_token(snapshot, i)} for i in written[:most]]
    size = {"VolumeSize": snapshot.volume_size, "BlockSize": BLOCK}
    more = {"NextToken": str(written[most])} if len(written) > most else {}
    return ActionResult({"Blocks": blocks, **size, **more})


def get_snapshot_block(self: EBSResponse) -> ActionResult:
    """Give a block, which is the same in a snapshot and in copies of it."""
    snapshot, index = _of_direct_api(self), int(self._get_param("BlockIndex"))
    if self._get_param("BlockToken") != _block_token(snapshot, index):
        raise JsonRESTError("ValidationException", "The token is not of this block.")
    told = f"{snapshot.volume.id} {index}".encode()
    data = hashlib.sha256(told).digest() * (BLOCK // hashlib.sha256().digest_size)
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return ActionResult(
        {
            "DataLength": len(data),
            "BlockData": data,
            "Checksum": checksum,
            "ChecksumAlgorithm": "SHA256",
        }
    )


def _of_direct_api(self: EBSResponse) -> Any:
    # moto makes this only with the first call of all: the same call would not leave the same state.
    ebs_backends[self.current_account][self.region]
    id = self._get_param("SnapshotId") or self.path.split("/")[2]
    return ec2_backends[self.current_account][self.region].get_snapshot(id)


def _written(snapshot: Any) -> list[int]:
    return [gib * 2048 for gib in range(snapshot.volume_size)]


def _block_token(snapshot: Any, index: int) -> str:
    return f"{snapshot.id}-{index}"


def _state(snapshot: Any) -> str:
    if vars(snapshot).get("failed"):
        return "error"
    return "pending" if time.time() < vars(snapshot).get("done_at", 0) else "completed"


def _progress(snapshot: Any) -> str:
    return "100%" if _state(snapshot) == "completed" else "42%"


def _message(snapshot: Any) -> str | None:
    said: str | None = vars(snapshot).get("failed")
    return said


def _completed_at(snapshot: Any) -> datetime | None:
    return snapshot.start_time if _state(snapshot) == "completed" else None


def _volume_id(snapshot: Any) -> str:
    return COPY_VOLUME if vars(snapshot).get("is_copy") else str(snapshot.volume.id)


def _taken(create: Any, backend: Any, *args: Any, **kwargs: Any) -> Snapshot:
    snapshot: Any = create(backend, *args, **kwargs)
    snapshot.kms_key_id = snapshot.volume.kms_key_id
    _takes_time(snapshot)
    return snapshot  # type: ignore[no-any-return]


def _takes_time(snapshot: Any) -> None:
    snapshot.done_at = time.time() + float(_tag(snapshot.volume, SECONDS) or 0)


def _visible(
    describe: Any, backend: Any, snapshot_ids: list[str] | None = None, filters: Any = None
) -> list[Snapshot]:
    own = dict(backend.snapshots)
    backend.snapshots = {**{one.id: one for one in _shared_with(backend)}, **own}
    try:
        return describe(backend, snapshot_ids, filters)  # type: ignore[no-any-return]
    finally:
        backend.snapshots = own


def _shared_with(backend: Any) -> Iterator[Any]:
    for account, regions in list(ec2_backends.items()):
        if account != backend.account_id and backend.region_name in regions:
            for snapshot in list(regions[backend.region_name].snapshots.values()):
                if backend.account_id in snapshot.create_volume_permission_userids:
                    yield snapshot


def _owned(describe: Any, self: EC2Response) -> ActionResult:
    answer: Any = describe(self)
    owners = self._get_param("OwnerIds", [])
    if owners:
        ids = {self.current_account if owner == "self" else owner for owner in owners}
        found = [one for one in answer.result["Snapshots"] if one.owner_id in ids]
        return ActionResult({"Snapshots": found})
    return answer  # type: ignore[no-any-return]


def _copied(
    _: Any,
    backend: Any,
    source_snapshot_id: str,
    source_region: str,
    description: str,
    kms_key_id: str | None,
) -> Snapshot:
    there = ec2_backends[backend.account_id][source_region]
    (source,) = there.describe_snapshots(snapshot_ids=[source_snapshot_id])
    if _state(source) != "completed":
        _refuse("IncorrectState", f"The snapshot '{source_snapshot_id}' is not 'completed'.")
    under_way = [one for one in backend.snapshots.values() if _is_being_copied(one)]
    if len(under_way) >= COPIES_AT_ONCE:
        said = f"Too many snapshot copies in progress. The limit is {COPIES_AT_ONCE}"
        _refuse("ResourceLimitExceeded", f"{said} for this destination region.")
    key = resolve(kms_key_id, backend.account_id, backend.region_name) if kms_key_id else None
    copy: Any = Snapshot(backend, random_snapshot_id(), source.volume, description)
    copy.encrypted, copy.kms_key_id = bool(source.encrypted or key), key or source.kms_key_id
    copy.is_copy = True
    _takes_time(copy)
    foreign = source.owner_id != backend.account_id
    unusable = foreign and source.kms_key_id and not usable(source.kms_key_id, backend.account_id)
    if unusable or (kms_key_id and key is None):
        copy.failed = _UNUSABLE
    backend.snapshots[copy.id] = copy
    return copy  # type: ignore[no-any-return]


def _is_being_copied(snapshot: Any) -> bool:
    return bool(vars(snapshot).get("is_copy")) and _state(snapshot) == "pending"


def _shareable(
    add: Any, backend: Any, snapshot_id: str, user_ids: list[str], groups: list[str]
) -> None:
    snapshot = backend.get_snapshot(snapshot_id)
    if snapshot.kms_key_id and _is_default(snapshot.kms_key_id, backend):
        _refuse(
            "OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared"
        )
    if _tag(snapshot.volume, PRODUCT_CODE):
        _refuse("OperationNotPermitted", f"{snapshot_id} has a product code and cannot be shared")
    add(backend, snapshot_id, user_ids, groups)


def _is_default(key: str, backend: Any) -> bool:
    return key == resolve("alias/aws/ebs", backend.account_id, backend.region_name)


def _unless_locked(delete: Any, backend: Any, snapshot_id: str) -> Any:
    if _lock_state(backend.get_snapshot(snapshot_id)) not in (None, "expired"):
        _refuse("OperationNotPermitted", f"{snapshot_id} is locked.")
    return delete(backend, snapshot_id)


def _lock_of(snapshot: Any) -> dict[str, Any]:
    return {
        "OwnerId": snapshot.owner_id,
        "SnapshotId": snapshot.id,
        "LockState": _lock_state(snapshot),
        **{name: value for name, value in snapshot.lock.items() if name != "LockMode"},
    }


def _lock_state(snapshot: Any) -> str | None:
    lock, now = vars(snapshot).get("lock"), datetime.now(UTC)
    if lock is None:
        return None
    if lock["LockExpiresOn"] <= now:
        return "expired"
    if lock["LockMode"] == "compliance" and lock.get("CoolOffPeriodExpiresOn", now) > now:
        return "compliance-cooloff"
    return str(lock["LockMode"])


def _tag(resource: Any, name: str) -> str | None:
    return next((str(tag["value"]) for tag in resource.get_tags() if tag["key"] == name), None)


def _refuse(code: str, message: str) -> NoReturn:
    raise EC2ClientError(code, message)
