"""Instance profiles: what replaces an association is another one, and the instance shows it.

moto keeps the association's id when its profile is replaced, and goes on to describe the instance
with the old profile.
"""

from typing import Any

from moto.ec2.models import EC2Backend
from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociation
from moto.ec2.utils import random_iam_instance_profile_association_id

from firedoor.lab import patch


def install() -> None:
    """Set moto's associations of instance profiles right."""
    patch.around(EC2Backend, "replace_iam_instance_profile_association", _replace)


def _replace(
    replace: Any, backend: EC2Backend, *args: Any, **kwargs: Any
) -> IamInstanceProfileAssociation:
    association: IamInstanceProfileAssociation = replace(backend, *args, **kwargs)
    profile = association.iam_instance_profile
    association.association_id = random_iam_instance_profile_association_id()
    backend.modify_instance_attribute(
        association.instance_id, "iam_instance_profile", {"Arn": profile.arn, "Id": profile.id}
    )
    return association
