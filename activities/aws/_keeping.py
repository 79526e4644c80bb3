"""Where the snapshots of an instance are to be kept: chosen by the settings, and read back."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from activities.aws import _keys, _snapshots
from activities.aws._custody import Custody, Handover, Route, said_of
from activities.aws._reading import counted
from activities.aws._snapshots import Lock, Snapshot
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.evidence import Evidence
from firedoor.model.plan import Check
from firedoor.settings import SnapshotLock, settings

Volume = Mapping[str, Any]


def choose(volumes: Sequence[Volume], aws: Aws) -> tuple[Custody, tuple[Check, ...]]:
    """Return who is to keep the snapshots of these volumes, and what an approver should know of it.

    A volume whose snapshot cannot be shared stays here, and a check says why: that the set is taken
    must not hang on that.
    """
    ids = tuple(str(volume["VolumeId"]) for volume in volumes)
    stays = Custody(volumes=ids, lock=_lock())
    account = settings().forensic_account
    if account is None or account == aws.account:
        return stays, ()
    if lacking := _lacking():
        return stays, (_check(f"copies in account {account}", lacking),)
    there, sharing = _forensic(account, aws), _sharing(aws)
    routes = aws.together(*(partial(_route, volume, sharing, aws) for volume in volumes))
    custody = stays.model_copy(
        update={
            "account": account,
            "key": settings().forensic_key,
            "grantee": f"arn:{aws.partition}:iam::{account}:role/{settings().aws_role}",
            "routes": tuple(route for route in routes if isinstance(route, Route)),
        }
    )
    return custody, (there, *(one for one in routes if isinstance(one, Check)))


def felt(custody: Custody) -> tuple[str, ...]:
    """Say what keeping them costs, and who may see them meanwhile."""
    said = []
    if custody.routes:
        many = counted(len(custody.routes), "snapshot")
        said.append(
            f"{many} shared with account {custody.account} until copied there, under {custody.key};"
            " the copies are charged for there"
        )
    if again := sum(route.recopied for route in custody.routes):
        said.append(
            f"{counted(again, 'snapshot')} first copied in this account, as AWS's own key cannot be"
            " shared; these copies stay, and are charged for"
        )
    if lock := custody.lock:
        said.append(
            f"locked in {lock.mode} mode for {counted(lock.days, 'day')}: charged for that long"
        )
    return tuple(said)


def lost(custody: Custody) -> tuple[str, ...]:
    """Say what cannot be taken back."""
    lock = custody.lock
    if lock is None or lock.mode is not SnapshotLock.COMPLIANCE:
        return ()
    return (
        f"after {counted(lock.cool_off or 0, 'hour')} nobody, not even the root user, can delete"
        f" what is locked or shorten its {counted(lock.days, 'day')}, whatever it holds",
    )


def read_back(handover: Handover) -> tuple[list[Check], list[Evidence]]:
    """Return what there is of each volume, and the evidence that is complete.

    Of the forensic account nothing is said if we may not look there; that is no error here.
    """
    custody, found = handover.custody, []
    for volume, snapshot in handover.taken.items():
        if snapshot["State"] == "completed":
            found.append(_snapshots.evidence(snapshot, f"snapshot of {volume}", handover.aws))
    try:
        locks = handover.locks()
        copies = {r.volume: handover.kept(r.volume) for r in custody.routes}
        open_to = _still_open(handover)
    except CloudError as error:
        if error.retryable:
            raise
        return [_check("what is kept", str(error))], found
    for volume, copy in copies.items():
        if copy and copy["State"] == "completed":
            name = f"copy of the snapshot of {volume} in account {custody.account}"
            found.append(_snapshots.evidence(copy, name, handover.there))
    checks = [_stands(handover, volume, locks.get(volume)) for volume in custody.volumes]
    return [*checks, *open_to], found


def _lock() -> Lock | None:
    mode = settings().snapshot_lock
    if mode is None:
        return None
    cool_off = settings().snapshot_lock_cool_off if mode is SnapshotLock.COMPLIANCE else None
    return Lock(mode=mode, days=settings().snapshot_lock_days, cool_off=cool_off)


def _lacking() -> str:
    if settings().forensic_key is None:
        return "none: set FIREDOOR_FORENSIC_KEY, a key of that account; snapshots stay in this one"
    if settings().aws_role is None:
        return "none: set FIREDOOR_AWS_ROLE, by which it is entered; snapshots stay in this account"
    return ""


def _forensic(account: str, aws: Aws) -> Check:
    """Say whether we get into the forensic account, and its key can be used."""
    name, key = f"copies in account {account}", settings().forensic_key
    try:
        metadata = _keys.described(str(key), aws.elsewhere(account=account))
    except CloudError as error:
        return _check(name, str(error))
    if metadata["KeyState"] != "Enabled":
        return _check(name, f"{key} is {metadata['KeyState']}")
    return Check(name=name, ok=True, detail=f"under {metadata['Arn']}")


def _sharing(aws: Aws) -> str | Check:
    """Return the ARN of our key for what AWS's own key encrypts; grants take no alias."""
    key, name = settings().sharing_key, "a key that can be shared"
    if key is None:
        return _check(name, "none: set FIREDOOR_SHARING_KEY")
    try:
        metadata = _keys.described(key, aws)
    except CloudError as error:
        return _check(name, str(error))
    if _keys.is_aws_own(metadata):
        return _check(name, f"{key} is AWS's own: set FIREDOOR_SHARING_KEY to one of yours")
    return str(metadata["Arn"])


def _route(volume: Volume, sharing: str | Check, aws: Aws) -> Route | Check:
    """Return the way of a volume's snapshot, or why it has to stay.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html
    """
    id = volume["VolumeId"]
    name = f"copy of {id}"
    try:
        codes = aws.client("ec2").describe_volume_attribute(VolumeId=id, Attribute="productCodes")
        if codes.get("ProductCodes"):
            return _check(name, "it is of the Marketplace, so that its snapshot cannot be shared")
        if not volume.get("Encrypted"):
            return Route(volume=id)
        metadata = _keys.described(volume["KmsKeyId"], aws)
    except CloudError as error:
        return _check(name, str(error))
    if not _keys.is_aws_own(metadata):
        return Route(volume=id, key=metadata["Arn"])
    if isinstance(sharing, Check):
        why = f"AWS's own key encrypts it, and cannot be shared. {sharing.name}: {sharing.detail}"
        return _check(name, why)
    return Route(volume=id, key=sharing, recopied=True)


def _stands(handover: Handover, volume: str, held: Mapping[str, Any] | None) -> Check:
    said = [said_of(one) for one in _chain(handover, volume)]
    kept, wanted = handover.kept(volume), handover.custody.lock
    if held:
        said.append(f"locked, {held['LockState']}, until {held.get('LockExpiresOn', 'completed')}")
    elif wanted:
        said.append("not locked yet")
    good = kept is not None and kept["State"] == "completed" and bool(held or not wanted)
    return Check(name=volume, ok=good, detail="; ".join(said) or "no snapshot of this step")


def _chain(handover: Handover, volume: str) -> list[Snapshot]:
    """Return the snapshot of a volume, and the copy that is kept of it if there is one."""
    found = (handover.taken.get(volume), handover.kept(volume))
    return list({one["SnapshotId"]: one for one in found if one}.values())


def _still_open(handover: Handover) -> list[Check]:
    """Say whether the share and the grants, which were for the copying alone, are taken back."""
    custody, aws = handover.custody, handover.aws
    if not custody.routes:
        return []
    lent = [one["SnapshotId"] for route in custody.routes if (one := handover.lent(route))]
    still = [f"{id} is shared" for id in lent if _snapshots.is_shared(id, custody.account, aws)]
    still += [
        f"{key} has a grant" for key in custody.keys if _keys.found(handover.target, key, aws)
    ]
    detail = f"with account {custody.account}: {', '.join(still) or 'nothing'}"
    return [Check(name="nothing is shared any more", ok=not still, detail=detail)]


def _check(name: str, why: str) -> Check:
    return Check(name=name, ok=False, detail=why)
