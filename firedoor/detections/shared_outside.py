"""A copy of a disk, an image or a database was given to others."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import call
from firedoor.model.finding import Side

DETECTION = Detection(
    title="A snapshot or an image is shared outside",
    description=(
        "A principal let another account, or everybody, use a snapshot, an image or a document, or"
        " made an address from which a disk can be downloaded: so data leaves without a byte in any"
        " flow log. Between accounts of one organisation it is done on purpose: look to whom."
    ),
    type="Exfiltration:IAMUser/SharedOutside",
    severity=7,
    techniques=("T1537",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql=_calls.sql(
        any_of(
            all_of(aws("ModifySnapshotAttribute"), says('"createVolumePermission":{"add"')),
            all_of(aws("ModifyImageAttribute"), says('"launchPermission":{"add"')),
            all_of(
                aws("ModifyDBSnapshotAttribute", "ModifyDBClusterSnapshotAttribute"),
                says('"valuesToAdd":["'),
            ),
            all_of(aws("ModifyDocumentPermission"), says('"accountIdsToAdd":["')),
            azure(
                "microsoft.compute/snapshots/begingetaccess/action",
                "microsoft.compute/disks/begingetaccess/action",
            ),
            gcp("compute.images.setiampolicy", "compute.snapshots.setiampolicy"),
        )
    ),
    summary="{actor} called {operation} of {what}",
    examples=(
        Example(
            "a snapshot for an account",
            call(
                "ModifySnapshotAttribute",
                '{"createVolumePermission":{"add":{"items":[{"userId":"210987654321"}]}}}',
            ),
            matches=1,
        ),
        Example(
            "a database for an account",
            call("ModifyDBSnapshotAttribute", '{"valuesToAdd":["210987654321"]}'),
            matches=1,
        ),
        Example(
            "a disk to download",
            call("MICROSOFT.COMPUTE/DISKS/BEGINGETACCESS/ACTION", cloud="azure", actor_type="User"),
            matches=1,
        ),
        Example(
            "an image for others",
            call("v1.compute.images.setIamPolicy", cloud="gcp", actor_type="user"),
            matches=1,
        ),
        Example(
            "a share that is taken back",
            call(
                "ModifySnapshotAttribute",
                '{"createVolumePermission":{"remove":{"items":[{"userId":"210987654321"}]}}}',
            ),
            matches=0,
        ),
        Example(
            "nobody is added",
            call("ModifyDBSnapshotAttribute", '{"valuesToAdd":[]}'),
            matches=0,
        ),
        Example(
            "it was refused",
            call(
                "ModifyImageAttribute",
                '{"launchPermission":{"add":{"items":[{"group":"all"}]}}}',
                status="Failure",
            ),
            matches=0,
        ),
    ),
)
