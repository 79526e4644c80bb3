"""Quarantining a database, against the emulated AWS."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from activities.aws import _network, quarantine_database
from activities.aws._quarantine import NAME
from activities.aws.quarantine_database import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Refused, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Receipt, Target, Verdict

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDERS, LEDGER = "orders", "ledger"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0.0)


@pytest.fixture
def rds(scene: Scene) -> Any:
    """The client of somebody else, and one instance that the whole world can reach."""
    client = boto3.client("rds")
    ec2 = boto3.client("ec2")
    second = ec2.create_subnet(
        VpcId=scene.vpc_id, CidrBlock="10.20.9.0/24", AvailabilityZone="us-east-1b"
    )
    client.create_db_subnet_group(
        DBSubnetGroupName="data",
        DBSubnetGroupDescription="-",
        SubnetIds=[scene.private_subnet_id, second["Subnet"]["SubnetId"]],
    )
    client.create_db_instance(
        DBInstanceIdentifier=ORDERS,
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        DBSubnetGroupName="data",
        VpcSecurityGroupIds=[scene.app_group_id, scene.web_group_id],
        PubliclyAccessible=True,
    )
    return client


@pytest.fixture
def aurora(rds: Any, scene: Scene) -> Any:
    """The same client, with a cluster of two, of which one is public, and its Data API on."""
    rds.create_db_cluster(
        DBClusterIdentifier=LEDGER,
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        DBSubnetGroupName="data",
        VpcSecurityGroupIds=[scene.app_group_id],
    )
    for number, public in enumerate((True, False)):
        rds.create_db_instance(
            DBInstanceIdentifier=f"{LEDGER}-{number}",
            DBInstanceClass="db.r6g.large",
            Engine="aurora-postgresql",
            DBClusterIdentifier=LEDGER,
            PubliclyAccessible=public,
        )
    arn = rds.describe_db_clusters(DBClusterIdentifier=LEDGER)["DBClusters"][0]["DBClusterArn"]
    rds.enable_http_endpoint(ResourceArn=arn)
    return rds


def planned(aws: Aws, id: str = ORDERS, **params: Any) -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, kind=Kind.DATABASE, id=id
    )
    target = Target(subject=subject, incident="incident/1", step="quarantine", at=AT)
    (plan,) = quarantine_database.plan(target, Params(**params), aws)
    return plan


def until_done(phase: Callable[[Plan, Aws], Receipt], plan: Plan, aws: Aws) -> list[str]:
    """Try as Temporal does, and return the operations of all attempts that changed something."""
    made: list[str] = []
    for _ in range(12):
        try:
            receipt = phase(plan, aws)
        except Throttled as error:
            made += [call.operation for call in error.made if call.outcome == "ok"]
            continue
        return made + [call.operation for call in receipt.calls]
    raise AssertionError(made)


def state(rds: Any) -> Any:
    """All that AWS shows of the databases and that a quarantine can change back."""
    for _ in range(3):  # lets what is under way come to rest
        instances = rds.describe_db_instances()["DBInstances"]
        clusters = rds.describe_db_clusters()["DBClusters"]
    members = ("VpcSecurityGroups", "PubliclyAccessible", "DeletionProtection", "DBInstanceStatus")
    own = ("VpcSecurityGroups", "DeletionProtection", "HttpEndpointEnabled", "Status")
    return {
        **{i["DBInstanceIdentifier"]: [i.get(m) for m in members] for i in instances},
        **{c["DBClusterIdentifier"]: [c.get(m) for m in own] for c in clusters},
    }


def connections(number: float, *ids: str, at: datetime | None = None) -> None:
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/RDS",
        MetricData=[
            {
                "MetricName": "DatabaseConnections",
                "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": id}],
                "Timestamp": at or datetime.now(UTC) - timedelta(minutes=2),
                "Value": number,
            }
            for id in ids
        ],
    )


def fail(lab: EmulatedAws, operation: str, **fault: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": "rds", "operation": operation, **fault})


def snapshots(rds: Any) -> list[str]:
    found = rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    return [snapshot["DBSnapshotIdentifier"] for snapshot in found]


def groups(rds: Any) -> list[str]:
    (found,) = rds.describe_db_instances(DBInstanceIdentifier=ORDERS)["DBInstances"]
    return [group["VpcSecurityGroupId"] for group in found["VpcSecurityGroups"]]


# An instance


def test_instance_is_cut_off_and_comes_back_as_it_was(rds: Any, aws: Aws) -> None:
    before = state(rds)
    plan = planned(aws)

    applied = until_done(apply, plan, aws)
    during = state(rds)[ORDERS]
    reverted = until_done(revert, plan, aws)

    (group,) = boto3.client("ec2").describe_security_groups(GroupNames=[NAME])["SecurityGroups"]
    assert during[0] == [{"VpcSecurityGroupId": group["GroupId"], "Status": "active"}]
    assert (during[1], during[2]) == (False, True)
    assert (group["IpPermissions"], group["IpPermissionsEgress"]) == ([], [])
    assert [name for name in applied if not name.startswith("Revoke")] == [
        "CreateSecurityGroup",
        "ModifyDBInstance",
        "ModifyDBInstance",
        "CreateDBSnapshot",
    ]
    assert reverted == ["ModifyDBInstance"]
    assert state(rds) == before


def test_door_is_closed_before_the_snapshot_that_would_keep_it_open(rds: Any, aws: Aws) -> None:
    plan = planned(aws)

    with pytest.raises(Throttled) as first:
        apply(plan, aws)

    assert [c.operation for c in first.value.made if c.outcome == "ok"][-1] == "ModifyDBInstance"
    assert len(groups(rds)) == 1
    assert [call.operation for call in plan.calls][-1] == "CreateDBSnapshot"


def test_what_is_done_is_not_done_again(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)

    again = apply(plan, aws)
    until_done(revert, plan, aws)
    state(rds)
    back = revert(plan, aws)

    assert (again.calls, back.calls, back.left) == ((), (), ())
    assert len(snapshots(rds)) == 1


@pytest.mark.parametrize("operation", ["ModifyDBInstance", "CreateDBSnapshot"])
def test_what_was_cut_short_is_completed_and_taken_back(
    rds: Any, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    before = state(rds)
    plan = planned(aws, rotate=False)
    fail(lab, operation, kind="lost")

    with pytest.raises((Unavailable, Throttled)):
        apply(plan, aws)
    state(rds)
    with suppress(Unavailable):
        apply(plan, aws)
    until_done(apply, plan, aws)
    closed = len(groups(rds))
    until_done(revert, plan, aws)

    assert (closed, len(snapshots(rds))) == (1, 1)
    assert state(rds) == before


def test_password_is_changed_once_and_stays_changed(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    changed = planned(aws).before["version"]

    until_done(revert, plan, aws)

    assert plan.before["version"] != changed
    assert planned(aws).before["version"] == changed
    assert any("master password of orders stays the new one" in line for line in plan.lost)


def test_password_that_rds_does_not_manage_is_a_task(rds: Any, aws: Aws) -> None:
    rds.modify_db_instance(
        DBInstanceIdentifier=ORDERS,
        ManageMasterUserPassword=False,
        MasterUserPassword="not-a-secret",
        ApplyImmediately=True,
    )

    plan = planned(aws)

    assert not any("RotateMasterUserPassword" in call.parameters for call in plan.calls)
    assert any("Change the password of the master user of orders (owner)" in t for t in plan.tasks)


def test_open_sessions_are_a_task_that_says_how_to_end_them(rds: Any, aws: Aws) -> None:
    (sessions, *_) = planned(aws).tasks

    assert sessions.startswith("End the sessions that were open on orders")
    assert "pg_terminate_backend" in sessions
    assert "DatabaseConnections of orders is 0" in sessions


def test_snapshot_has_a_name_of_its_step_and_stays(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    until_done(revert, plan, aws)

    (name,) = snapshots(rds)
    assert (name, planned(aws).before["snapshot"]) == (plan.before["snapshot"],) * 2
    assert re.fullmatch(r"firedoor-orders-[0-9a-f]{16}", name)


def test_snapshot_that_is_refused_for_good_stops_no_quarantine(
    rds: Any, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(aws, rotate=False)
    with pytest.raises(Throttled):
        apply(plan, aws)
    state(rds)
    fail(lab, "CreateDBSnapshot", code="SnapshotQuotaExceeded", status=400)

    receipt = apply(plan, aws)

    assert receipt.left[0].startswith("no snapshot was taken: CreateDBSnapshot")
    failed = [check.name for check in verify(plan, aws).checks if not check.ok]
    assert f"snapshot {plan.before['snapshot']}" in failed
    assert verify(plan, aws).verdict is not Verdict.DRIFTED


def test_password_that_may_not_be_changed_stops_neither_quarantine_nor_snapshot(
    rds: Any, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(aws)
    with pytest.raises(Throttled):
        apply(plan, aws)
    state(rds)
    connections(0, ORDERS)
    fail(lab, "ModifyDBInstance", code="AccessDenied", status=403)

    receipt = apply(plan, aws)
    proof = verify(plan, aws)

    assert [call.operation for call in receipt.calls] == ["ModifyDBInstance", "CreateDBSnapshot"]
    assert receipt.left[0].startswith("the master password was not changed: ModifyDBInstance")
    assert (proof.verdict, len(snapshots(rds))) == (Verdict.UNPROVEN, 1)


def test_quarantine_group_that_exists_is_used_and_emptied(rds: Any, scene: Scene, aws: Aws) -> None:
    until_done(apply, planned(aws), aws)
    ec2 = boto3.client("ec2")
    (group,) = ec2.describe_security_groups(GroupNames=[NAME])["SecurityGroups"]
    state(rds)
    rds.modify_db_instance(DBInstanceIdentifier=ORDERS, VpcSecurityGroupIds=[scene.app_group_id])
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="tcp", FromPort=5432, ToPort=5432, CidrIp="0.0.0.0/0"
    )
    state(rds)

    applied = until_done(apply, planned(aws), aws)

    assert "CreateSecurityGroup" not in applied
    assert "RevokeSecurityGroupIngress" in applied
    assert groups(rds) == [group["GroupId"]]


def test_group_of_somebody_else_with_our_name_is_refused(rds: Any, scene: Scene, aws: Aws) -> None:
    boto3.client("ec2").create_security_group(GroupName=NAME, Description="-", VpcId=scene.vpc_id)

    (refusal,) = planned(aws).refusals

    assert "but is not Firedoor's" in refusal


def test_change_after_planning_voids_the_plan(rds: Any, scene: Scene, aws: Aws) -> None:
    plan = planned(aws)
    rds.modify_db_instance(DBInstanceIdentifier=ORDERS, VpcSecurityGroupIds=[scene.web_group_id])

    with pytest.raises(PlanStale, match="security groups is"):
        apply(plan, aws)


def test_what_somebody_else_changed_meanwhile_is_left_alone(
    rds: Any, scene: Scene, aws: Aws
) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    rds.modify_db_instance(DBInstanceIdentifier=ORDERS, VpcSecurityGroupIds=[scene.web_group_id])
    state(rds)

    until_done(revert, plan, aws)

    after = state(rds)[ORDERS]
    assert groups(rds) == [scene.web_group_id]
    assert (after[1], after[2]) == (True, False)


def test_group_that_was_deleted_meanwhile_leaves_it_in_quarantine(
    rds: Any, scene: Scene, aws: Aws
) -> None:
    ec2 = boto3.client("ec2")
    group = ec2.create_security_group(GroupName="short-lived", Description="-", VpcId=scene.vpc_id)[
        "GroupId"
    ]
    rds.modify_db_instance(DBInstanceIdentifier=ORDERS, VpcSecurityGroupIds=[group])
    state(rds)
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    ec2.delete_security_group(GroupId=group)

    with pytest.raises(Throttled):  # the first of the two settings that are left
        revert(plan, aws)
    for _ in range(3):
        state(rds)
        left = revert(plan, aws).left

    assert left == (f"instance/orders stays in {NAME}, as {group} does not exist any more",)
    assert (state(rds)[ORDERS][1], state(rds)[ORDERS][2]) == (True, False)


# Whether it holds


@pytest.mark.parametrize(
    ("number", "verdict"),
    [(0, Verdict.PROVEN), (3, Verdict.UNPROVEN), (None, Verdict.UNPROVEN)],
)
def test_quarantine_is_proven_once_nobody_is_connected(
    rds: Any, aws: Aws, number: int | None, verdict: Verdict
) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    if number is not None:
        connections(number, ORDERS)

    proof = verify(plan, aws)

    assert proof.verdict is verdict
    assert (proof.since is not None) == (verdict is Verdict.PROVEN)


@pytest.mark.parametrize("undone", ["groups", "rule", "protection"])
def test_somebody_who_opens_it_again_is_noticed(
    rds: Any, scene: Scene, aws: Aws, undone: str
) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    match undone:
        case "groups":
            ids = [scene.app_group_id]
            rds.modify_db_instance(DBInstanceIdentifier=ORDERS, VpcSecurityGroupIds=ids)
        case "protection":
            rds.modify_db_instance(DBInstanceIdentifier=ORDERS, DeletionProtection=False)
        case _:
            boto3.client("ec2").authorize_security_group_ingress(
                GroupId=groups(rds)[0],
                IpProtocol="tcp",
                FromPort=5432,
                ToPort=5432,
                CidrIp="198.51.100.7/32",
            )

    assert verify(plan, aws).verdict is Verdict.DRIFTED


def test_groups_that_are_still_being_set_are_pending(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    connections(0, ORDERS)
    (own,) = groups(rds)
    on_instances(
        aws,
        lambda instance: instance.update(
            VpcSecurityGroups=[
                {"VpcSecurityGroupId": own, "Status": "adding"},
                {"VpcSecurityGroupId": "sg-0old", "Status": "removing"},
            ]
        ),
    )

    assert verify(plan, aws).verdict is Verdict.PENDING


def test_public_access_that_rds_is_still_taking_away_is_pending(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    connections(0, ORDERS)
    on_instances(
        aws,
        lambda instance: instance.update(PubliclyAccessible=True, DBInstanceStatus="modifying"),
    )

    assert verify(plan, aws).verdict is Verdict.PENDING


def test_database_stopped_after_planning_voids_the_plan(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    on_instances(aws, lambda instance: instance.update(DBInstanceStatus="stopped"))

    with pytest.raises(PlanStale, match="it is stopped"):
        apply(plan, aws)


def test_release_of_a_stopped_database_says_to_start_it(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    on_instances(aws, lambda instance: instance.update(DBInstanceStatus="stopped"))

    with pytest.raises(Refused, match="until somebody starts it"):
        revert(plan, aws)


def test_secret_that_may_not_be_read_leaves_the_password_to_people(
    rds: Any, aws: Aws, lab: EmulatedAws
) -> None:
    fault = {"service": "secretsmanager", "operation": "DescribeSecret", "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDeniedException", "status": 403})

    plan = planned(aws)

    assert not any("RotateMasterUserPassword" in call.parameters for call in plan.calls)
    assert "we may not read the secret of RDS" in plan.tasks[1]


def test_snapshot_under_the_key_of_aws_is_said_not_to_be_shared(rds: Any, aws: Aws) -> None:
    on_instances(aws, lambda instance: instance.update(KmsKeyId="alias/aws/rds"))

    told = {check.name: check.detail for check in planned(aws).preflight}

    assert "CopyDBSnapshot" in told["snapshot can be shared"]


def test_password_that_is_still_being_changed_is_pending(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    connections(0, ORDERS)
    on_instances(aws, lambda instance: instance["MasterUserSecret"].update(SecretStatus="rotating"))

    assert verify(plan, aws).verdict is Verdict.PENDING


def test_quarantined_database_needs_no_further_quarantine(rds: Any, aws: Aws) -> None:
    until_done(apply, planned(aws), aws)
    state(rds)
    connections(0, ORDERS)

    again = planned(aws)

    assert (again.changes, again.calls, again.undo, again.tasks) == ((), (), (), ())
    assert verify(again, aws).verdict is Verdict.PROVEN


# A cluster


@pytest.mark.parametrize("id", [LEDGER, f"{LEDGER}-1", "arn"])
def test_whatever_names_a_member_quarantines_the_cluster(aurora: Any, aws: Aws, id: str) -> None:
    if id == "arn":
        (member,) = aurora.describe_db_instances(DBInstanceIdentifier=f"{LEDGER}-0")["DBInstances"]
        id = member["DBInstanceArn"]

    plan = planned(aws, id)

    assert plan.lease == f"cluster/{LEDGER}"
    assert {(c.resource, c.attribute) for c in plan.changes} == {
        (f"cluster/{LEDGER}", "security groups"),
        (f"cluster/{LEDGER}", "deletion protection"),
        (f"cluster/{LEDGER}", "Data API"),
        (f"instance/{LEDGER}-0", "public access"),
    }


def test_cluster_is_cut_off_and_comes_back_as_it_was(aurora: Any, aws: Aws) -> None:
    before = state(aurora)
    plan = planned(aws, LEDGER)

    applied = until_done(apply, plan, aws)
    during = state(aurora)
    connections(0, f"{LEDGER}-0", f"{LEDGER}-1")
    verdict = verify(plan, aws).verdict
    until_done(revert, plan, aws)

    assert [name for name in applied if "Security" not in name] == [
        "ModifyDBCluster",
        "ModifyDBInstance",
        "DisableHttpEndpoint",
        "ModifyDBCluster",
        "CreateDBClusterSnapshot",
    ]
    assert during[LEDGER][1:3] == [True, False]
    assert during[f"{LEDGER}-0"][1] is False
    assert verdict is Verdict.PROVEN
    assert state(aurora) == before


def test_data_api_of_serverless_version_1_is_set_with_the_cluster(aurora: Any, aws: Aws) -> None:
    aws.client("rds").meta.events.register(
        "after-call.rds.DescribeDBClusters",
        lambda parsed, **_: [c.update(EngineMode="serverless") for c in parsed["DBClusters"]],
    )

    calls = planned(aws, LEDGER).calls

    (off,) = [call for call in calls if "EnableHttpEndpoint" in call.parameters]
    assert (off.operation, off.parameters["EnableHttpEndpoint"]) == ("ModifyDBCluster", False)


# What is told


def test_database_that_does_not_exist_is_gone(rds: Any, aws: Aws) -> None:
    plan = planned(aws, "no-such-database")

    assert (plan.gone, plan.calls) == (True, ())
    assert plan.refusals == ("database no-such-database does not exist",)


def test_database_deleted_meanwhile_leaves_nothing_to_take_back(rds: Any, aws: Aws) -> None:
    plan = planned(aws, rotate=False, snapshot=False)
    until_done(apply, plan, aws)
    state(rds)
    rds.modify_db_instance(DBInstanceIdentifier=ORDERS, DeletionProtection=False)
    rds.delete_db_instance(DBInstanceIdentifier=ORDERS, SkipFinalSnapshot=True)

    assert verify(plan, aws).verdict is Verdict.DRIFTED
    assert revert(plan, aws).left == (f"database {ORDERS} does not exist any more",)


def test_database_renamed_meanwhile_is_told_by_its_new_name(rds: Any, aws: Aws) -> None:
    plan = planned(aws)
    until_done(apply, plan, aws)
    state(rds)
    rds.modify_db_instance(
        DBInstanceIdentifier=ORDERS, NewDBInstanceIdentifier="hidden", ApplyImmediately=True
    )

    proof, receipt = verify(plan, aws), revert(plan, aws)

    told = "database orders is called hidden by now: act on it by that name"
    assert (proof.verdict, proof.checks[0].detail) == (Verdict.DRIFTED, told)
    assert (receipt.calls, receipt.left) == ((), (told,))


def test_cluster_renamed_after_planning_voids_the_plan(aurora: Any, aws: Aws) -> None:
    plan = planned(aws, id=LEDGER)
    aurora.modify_db_cluster(DBClusterIdentifier=LEDGER, NewDBClusterIdentifier="hidden")

    with pytest.raises(PlanStale, match="ledger is called hidden by now"):
        apply(plan, aws)


def test_stopped_database_is_refused_as_rds_changes_none(rds: Any, aws: Aws) -> None:
    rds.stop_db_instance(DBInstanceIdentifier=ORDERS)

    (refusal,) = planned(aws).refusals

    assert "RDS starts it by itself after seven days" in refusal


def test_plan_says_who_is_connected_and_what_else_answers(rds: Any, aws: Aws) -> None:
    rds.create_db_instance_read_replica(
        DBInstanceIdentifier=f"{ORDERS}-copy", SourceDBInstanceIdentifier=ORDERS
    )
    connections(17, ORDERS, at=AT - timedelta(minutes=3))
    on_instances(
        aws,
        lambda instance: instance.update(
            MultiAZ=True,
            IAMDatabaseAuthenticationEnabled=True,
            PendingModifiedValues={"EngineVersion": "17.2"},
        ),
    )

    told = "\n".join(planned(aws).blast_radius)

    assert "orders has 17 connections: open ones go on" in told
    assert "still answering under groups of their own: 1 replica, orders-copy" in told
    assert "its standby in another zone comes along" in told
    assert "sign-in by IAM is on" in told
    assert "what waits for the maintenance window takes effect at once: EngineVersion" in told


def on_instances(aws: Aws, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let RDS describe instances otherwise, where the emulator cannot."""
    aws.client("rds").meta.events.register(
        "after-call.rds.DescribeDBInstances",
        lambda parsed, **_: [change(instance) for instance in parsed.get("DBInstances", ())],
    )
