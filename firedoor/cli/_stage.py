"""What the demo is played on: an emulated AWS, a Temporal server, and a worker with the intake."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import boto3
import yaml

from firedoor.cli.server import enrol, use
from firedoor.errors import BadInput, Unreachable
from firedoor.lab import scene as scenes
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.runbook import Step
from firedoor.settings import settings
from worker import catalogue
from worker import server as servers
from worker.server import HOST, DevServer

IDENTITY = "firedoor"  # the user that the worker is in the account
RIGHTS = (  # beside those that actions need
    "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    "sqs:ReceiveMessage", "sqs:SendMessage", "sts:GetCallerIdentity",
)  # fmt: skip

# How long an interface remembers idle connections, in seconds, if nobody says.
UNSET = {"TcpEstablishedTimeout": 432000, "UdpStreamTimeout": 180, "UdpTimeout": 30}

READY = "queue.opened"  # the worker logs it once it works and the intake has its queue
PATIENCE = 30.0  # seconds for a worker to start
GRACE = 10.0  # and to end
PAUSE = 0.02

State = dict[str, list[str]]
"""How things stand, by resource: one line for each security group, ACL entry or policy."""


class WorkerProcess:
    """A worker with the intake, in a process of its own that logs to a file.

    It ends with the `with` block, and also when this process dies in any other way.
    """

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self._environment = environment

    def __enter__(self) -> Self:
        """Start it, and wait until it works.

        Raises `Unreachable` if it ends instead.
        """
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own files
                # What guards the embedded server guards a worker too. Without -P, Python would
                # take a module of that name from the directory where the demo was started.
                [sys.executable, "-P", servers.__file__, sys.executable, "-P", "-m", "worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for us: it ends after we are done with it
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let it finish what is in hand, and wait until it is gone."""
        self._stop()

    def require(self) -> None:
        """Raise `Unreachable`, with its last words, if it has ended."""
        if self._process.poll() is not None:
            last = self.log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Unreachable(f"the worker ended: {last or 'it said nothing'}")

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + PATIENCE
        while READY not in self.log.read_text(errors="replace"):
            self.require()
            if time.monotonic() > until:
                raise Unreachable("the worker does not start")
            time.sleep(PAUSE)

    def _stop(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        try:
            self._process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class House(NamedTuple):
    """Everything that runs, and the directory that holds all that it writes."""

    directory: Path
    aws: EmulatedAws
    scene: Scene
    server: DevServer
    worker: WorkerProcess

    def detect(self, finding: dict[str, Any]) -> None:
        """Let the emulated GuardDuty find something, and send it the way that AWS does."""
        self.aws.control("POST", "firedoor/findings", finding)


@contextmanager
def open_house(directory: Path, responder: str | None) -> Iterator[House]:
    """Start everything; after the block nothing of it runs any more.

    `responder` is who decides; None leaves that to the settings.
    """
    _shut_the_world_out(directory, responder)
    with EmulatedAws(directory / "aws.log") as aws, DevServer(directory / "server") as server:
        os.environ.update(aws.environment)
        use(server)
        enrol()
        scene = scenes.build(boto3.Session())
        environment = {
            **os.environ,
            **_sign_up(_client("iam")),
            "FIREDOOR_QUEUE_URL": scene.queue_url,
            "FIREDOOR_DEAD_LETTER_URL": scene.dead_queue_url,
            "FIREDOOR_RUNBOOKS": str(_in_haste(directory / "runbooks")),
        }
        with WorkerProcess(directory / "worker.log", environment) as worker:
            yield House(directory, aws, scene, server, worker)


def observe(scene: Scene) -> State:
    """Ask AWS itself, and not Firedoor, how all stands that a containment here may change."""
    ec2, iam = _client("ec2"), _client("iam")
    inside = [{"Name": "vpc-id", "Values": [scene.vpc_id]}]
    interfaces = ec2.describe_network_interfaces(Filters=inside)["NetworkInterfaces"]
    acls = ec2.describe_network_acls(Filters=inside)["NetworkAcls"]
    instances = (scene.web_id, scene.app_id)
    volumes = ec2.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": list(instances)}]
    )["Volumes"]
    return {
        **{id: _instance(ec2, id) for id in instances},
        **{volume["VolumeId"]: _tags(volume.get("Tags", [])) for volume in volumes},
        **{i["NetworkInterfaceId"]: _interface(i) for i in interfaces},
        **{acl["NetworkAclId"]: sorted(map(_entry, acl["Entries"])) for acl in acls},
        **{f"role/{role}": _policies(iam, role) for role in (scene.role_name, scene.app_role_name)},
    }


def remains(scene: Scene) -> list[str]:
    """Ask AWS what is there that neither the scene nor a release accounts for."""
    ec2 = _client("ec2")
    inside = [{"Name": "vpc-id", "Values": [scene.vpc_id]}]
    volumes = {volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]}
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    groups = ec2.describe_security_groups(Filters=inside)["SecurityGroups"]
    built = {scene.default_group_id, scene.web_group_id, scene.app_group_id}
    ours = [snapshot for snapshot in snapshots if snapshot["VolumeId"] in volumes]
    return [
        *(f"snapshot {snapshot['SnapshotId']} of {snapshot['VolumeId']}" for snapshot in ours),
        *(f"security group {_group(group)}" for group in groups if group["GroupId"] not in built),
    ]


def changed(before: State, after: State) -> dict[str, tuple[list[str], list[str]]]:
    """Return the resources that differ, each as it was and as it is."""
    both = {name: (before.get(name, []), after.get(name, [])) for name in sorted(before | after)}
    return {name: (was, now) for name, (was, now) in both.items() if was != now}


@contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """Yield the directory for all that is written: one that is removed, or an empty one to keep.

    Raises `BadInput` if that cannot be used.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="firedoor-demo-") as directory:
            yield Path(directory)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        taken = any(keep.iterdir())
    except OSError as error:
        raise BadInput("--keep", str(keep), (error.strerror or "cannot be used").lower()) from error
    if taken:
        raise BadInput("--keep", str(keep), "expected an empty directory, or none yet")
    yield keep.resolve()


def _shut_the_world_out(directory: Path, responder: str | None) -> None:
    """Forget every setting that leads to a real account, cluster, person or proxy."""
    kept = {"FIREDOOR_RESPONDER"} if responder is None else set()
    for name in [name for name in os.environ if name.startswith(("AWS_", "FIREDOOR_"))]:
        if name not in kept:
            del os.environ[name]
    os.environ.update(
        FIREDOOR_HOME=str(directory),
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        NO_PROXY=HOST,
        no_proxy=HOST,
    )
    if responder is not None:
        os.environ["FIREDOOR_RESPONDER"] = responder
    settings.cache_clear()


def _in_haste(directory: Path) -> Path:
    """Write the runbooks down that would wait for packets, of which there are none here."""
    directory.mkdir()
    for runbook in catalogue.catalogue().values():
        hasty = runbook.model_copy(update={"steps": tuple(map(_without_wait, runbook.steps))})
        if hasty != runbook:
            text = yaml.safe_dump(hasty.model_dump(mode="json", by_alias=True, exclude_unset=True))
            (directory / f"{runbook.id}.yaml").write_text(text)
    return directory


def _without_wait(step: Step) -> Step:
    if step.do != "isolate_instance":
        return step
    return step.model_copy(update={"params": {**step.params, "untrack_for": "1s"}})


def _sign_up(iam: Any) -> dict[str, str]:
    """Give the worker a user with just the rights that its actions say they need."""
    needed = [action.permissions for action in catalogue.actions().values()]
    rights = set(RIGHTS).union(
        *((*each.plan, *each.apply, *each.verify, *each.revert) for each in needed)
    )
    statement = {"Effect": "Allow", "Action": sorted(rights), "Resource": "*"}
    iam.create_user(UserName=IDENTITY)
    policy = iam.create_policy(
        PolicyName=IDENTITY,
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )["Policy"]
    iam.attach_user_policy(UserName=IDENTITY, PolicyArn=policy["Arn"])
    key = iam.create_access_key(UserName=IDENTITY)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


@cache
def _client(service: str) -> Any:
    return boto3.client(service)


def _instance(ec2: Any, id: str) -> list[str]:
    """Return what protects an instance, what it can ask of its metadata, and its tags."""
    (reservation,) = ec2.describe_instances(InstanceIds=[id])["Reservations"]
    (instance,) = reservation["Instances"]
    protection = {
        name: ec2.describe_instance_attribute(InstanceId=id, Attribute=name)
        for name in ("disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior")
    }
    values = {n: a.get(n[0].upper() + n[1:], {}).get("Value") for n, a in protection.items()}
    return [
        *(f"{name} {value}" for name, value in values.items()),
        *(
            f"{disk['DeviceName']} DeleteOnTermination {disk['Ebs']['DeleteOnTermination']}"
            for disk in instance["BlockDeviceMappings"]
        ),
        f"metadata {instance['MetadataOptions']['HttpEndpoint']}",
        *_tags(instance.get("Tags", [])),
    ]


def _interface(interface: dict[str, Any]) -> list[str]:
    # What was never set is AWS's default, and comes back as that.
    timeouts = UNSET | interface.get("ConnectionTrackingConfiguration", {})
    return [
        *sorted(map(_group, interface["Groups"])),
        *(f"{name} {timeouts[name]} s" for name in sorted(UNSET)),
        *_tags(interface.get("TagSet", [])),
    ]


def _tags(tags: list[dict[str, str]]) -> list[str]:
    return sorted(f"{tag['Key']}={tag['Value']}" for tag in tags)


def _group(group: dict[str, Any]) -> str:
    return f"{group['GroupId']} {group['GroupName']}"


def _entry(entry: dict[str, Any]) -> str:
    """Return an entry of a network ACL as one line that holds all of it."""
    rest = dict(entry)
    way = "egress" if rest.pop("Egress") else "ingress"
    number, does = rest.pop("RuleNumber"), rest.pop("RuleAction")
    network = rest.pop("CidrBlock", None) or rest.pop("Ipv6CidrBlock", None)
    what = "all" if rest == {"Protocol": "-1"} else json.dumps(rest, sort_keys=True)
    return f"{way:7} {number:5} {does:5} {what} {network}"


def _policies(iam: Any, role: str) -> list[str]:
    documents = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    return [f"{name} {json.dumps(documents[name], sort_keys=True)}" for name in sorted(documents)]
