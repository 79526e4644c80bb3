"""EKS clusters that let a principal in: they believe STS, which tells everybody who they are.

No policy denies `sts:GetCallerIdentity`, so what is denied everything in AWS can still sign in to
a cluster. https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, CloudError

PERMISSIONS = ("eks:ListAccessEntries", "eks:ListClusters")


@dataclass(frozen=True)
class Clusters:
    """The clusters that have an access entry for somebody; `gap` says why there may be more."""

    known: tuple[str, ...]
    where: str
    gap: str = ""


def letting_in(arn: str, aws: Aws, regions: Sequence[str]) -> Clusters:
    """Read which clusters of some regions have an access entry for a principal."""
    found = aws.together(*(partial(_of_region, arn, aws.elsewhere(region=r)) for r in regions))
    gaps = [gap for _, gap in found if gap]
    more = f", and so in {len(gaps) - 1} more regions" if len(gaps) > 1 else ""
    return Clusters(
        known=tuple(name for names, _ in found for name in names),
        where=f"{len(regions)} regions" if len(regions) > 2 else ", ".join(regions),
        gap=f"{gaps[0]}{more}" if gaps else "",
    )


def _of_region(arn: str, aws: Aws) -> tuple[list[str], str]:
    try:
        names = aws.pages("eks", "ListClusters", "clusters")
        entries = aws.together(
            *(
                partial(aws.pages, "eks", "ListAccessEntries", "accessEntries", clusterName=name)
                for name in names
            )
        )
    except CloudError as error:
        # A policy of the organization that closes a region closes it to clusters as well.
        is_closed = isinstance(error, AccessDenied) and "service control policy" in str(error)
        return [], "" if is_closed else f"EKS of {aws.region} could not be read: {error}"
    found = zip(names, entries, strict=True)
    return [f"{name} in {aws.region}" for name, arns in found if arn in arns], ""
