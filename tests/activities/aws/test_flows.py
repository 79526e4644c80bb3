"""VPC flow logs as a proof that interfaces are dark."""

import gzip
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import boto3
import pytest

from activities.aws import _flows, _window
from activities.aws._flows import dark, fields, parse, peers, watched
from firedoor.cloud.aws import Aws
from firedoor.errors import Refused
from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, REGION, EmulatedAws
from firedoor.model.plan import Verdict

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(minutes=40)
GROUP = "/example/flow-logs"
BUCKET = "example-flow-logs"
FORMAT = _flows.fields(None)
HEADER = "interface-id action log-status start end dstaddr srcaddr"
REMOTE = "198.51.100.7"
LOCAL = "10.20.1.5"

Write = Callable[[Iterable[str]], None]


def line(
    interface: str, minutes: float, action: str = "ACCEPT", *, remote: str = REMOTE, size: int = 840
) -> str:
    """A minute of one flow that comes in, so many minutes after `SINCE`."""
    start = int((SINCE + timedelta(minutes=minutes)).timestamp())
    flow = f"{remote} {LOCAL} 40000 443 6 10 {size}"
    return f"2 {ACCOUNT} {interface} {flow} {start} {start + 60} {action} OK"


def nothing(interface: str, minutes: float, status: str = "NODATA") -> str:
    """A minute of which there is nothing to say."""
    start = int((SINCE + timedelta(minutes=minutes)).timestamp())
    return f"2 {ACCOUNT} {interface} - - - - - - - {start} {start + 60} - {status}"


def silence(interface: str, first: int, last: int) -> list[str]:
    """One record a minute that says that there was no traffic."""
    return [nothing(interface, minutes) for minutes in range(first, last)]


@pytest.fixture
def write(scene: Scene) -> Write:
    """Watch the VPC by a log in CloudWatch Logs, and put records of the web server there."""
    session = boto3.Session()
    logs = session.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    stream = {"logGroupName": GROUP, "logStreamName": f"{scene.web_interface_id}-all"}
    logs.create_log_stream(**stream)
    create(scene, ResourceType="VPC", ResourceIds=[scene.vpc_id])

    def put(lines: Iterable[str]) -> None:
        events = [{"timestamp": int(text.split()[10]) * 1000, "message": text} for text in lines]
        events.sort(key=lambda event: int(str(event["timestamp"])))
        logs.put_log_events(**stream, logEvents=events)

    return put


def create(scene: Scene, **members: Any) -> str:
    """Make a flow log; by default one of the web server's interface in CloudWatch Logs."""
    given = {
        "ResourceType": "NetworkInterface",
        "ResourceIds": [scene.web_interface_id],
        "TrafficType": "ALL",
        "MaxAggregationInterval": 60,
        **members,
    }
    if "LogDestinationType" not in given:
        given |= {
            "LogGroupName": given.get("LogGroupName", GROUP),
            "DeliverLogsPermissionArn": scene.role_arn,
        }
    return str(boto3.client("ec2").create_flow_logs(**given)["FlowLogIds"][0])


def test_interface_is_dark_since_what_passed_last(aws: Aws, scene: Scene, write: Write) -> None:
    own = scene.web_interface_id
    write([line(own, -1), line(own, 4), *silence(own, 5, 35)])

    window = dark(aws, [own], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE + timedelta(minutes=5))
    last = f"last {REMOTE} to {LOCAL} until {SINCE + timedelta(minutes=5):%Y-%m-%d %H:%M:%SZ}"
    assert window.check.detail.endswith(f"{last}; {_flows.UNSEEN}")


def test_rejected_traffic_is_a_sign_of_life_of_the_log(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write([line(own, minutes, "REJECT") for minutes in range(35)])

    window = dark(aws, [own], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)


def test_darkness_is_pending_until_late_records_must_have_come(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write([line(own, 30), *silence(own, 31, 38)])

    window = dark(aws, [own], SINCE + timedelta(minutes=28), NOW)

    expected = SINCE + timedelta(minutes=31 + 15 + 1 + 10)
    assert (window.verdict, window.since, window.due) == (
        Verdict.PENDING,
        SINCE + timedelta(minutes=31),
        expected,
    )


def test_records_that_may_still_come_keep_darkness_pending(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write(silence(own, 0, 38))

    window = dark(aws, [own], NOW - timedelta(minutes=20), NOW)

    assert (window.verdict, window.due) == (Verdict.PENDING, NOW + timedelta(minutes=6))


def test_silence_from_before_it_was_applied_proves_nothing(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write(silence(own, 0, 38))

    window = dark(aws.after(NOW - timedelta(minutes=2)), [own], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PENDING, NOW - timedelta(minutes=2))


def test_traffic_long_after_it_was_applied_is_unproven(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write([line(own, minutes) for minutes in range(35)])

    window = dark(aws.after(SINCE + timedelta(minutes=10)), [own], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN


def test_log_whose_records_stand_between_those_of_another_proves_nothing(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write([line(own, minutes, "REJECT") for minutes in range(35)])
    rejects = create(scene, TrafficType="REJECT")

    window = dark(aws, [own], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert f"writes to the same stream as {rejects}" in window.check.detail


def test_log_that_says_nothing_proves_nothing(aws: Aws, scene: Scene, write: Write) -> None:
    own = scene.web_interface_id
    write(silence(own, 0, 5))

    window = dark(aws, [own], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert window.check.detail.startswith(f"nothing is recorded of {own} after")


@pytest.mark.parametrize(
    "gap", [[], ["SKIPDATA"]], ids=["no records", "records that AWS had to skip"]
)
def test_time_of_which_nothing_is_known_is_not_dark(
    aws: Aws, scene: Scene, write: Write, gap: list[str]
) -> None:
    own = scene.web_interface_id
    skipped = [nothing(own, 9, status) for status in gap]
    write([*silence(own, 0, 5), *skipped, *silence(own, 10, 35)])

    window = dark(aws, [own], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE + timedelta(minutes=10))


def test_traffic_that_goes_on_is_unproven_and_named(
    aws: Aws, scene: Scene, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_window, "WAIT", timedelta(minutes=30))
    own = scene.web_interface_id
    write([line(own, minutes) for minutes in range(35)])

    window = dark(aws, [own], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert window.check.detail.startswith(f"traffic still passes; last {REMOTE} to {LOCAL}")


def test_traffic_while_a_plan_may_wait_for_approval_is_pending(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write([line(own, minutes) for minutes in range(38)])

    window = dark(aws, [own], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PENDING, SINCE + timedelta(minutes=38))


def test_only_traffic_with_the_remotes_in_question_counts(
    aws: Aws, scene: Scene, write: Write
) -> None:
    own = scene.web_interface_id
    write([line(own, minutes, remote="203.0.113.9") for minutes in range(35)])

    window = dark(aws, [own], SINCE, NOW, remotes=[ip_network("198.51.100.0/24")])

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)


def test_every_interface_must_be_dark(aws: Aws, scene: Scene, write: Write) -> None:
    write(silence(scene.web_interface_id, 0, 35))

    window = dark(aws, [scene.web_interface_id, scene.app_interface_ids[0]], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert scene.app_interface_ids[0] in window.check.detail


def test_long_containment_is_read_from_its_latest_part(
    aws: Aws, scene: Scene, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_flows, "LOOK_BACK", timedelta(minutes=30))
    write(silence(scene.web_interface_id, 0, 35))

    window = dark(aws, [scene.web_interface_id], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PROVEN, NOW - timedelta(minutes=30))
    assert window.check.detail.startswith("dark at least since")


def test_more_records_than_are_read_prove_nothing(
    aws: Aws, scene: Scene, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_flows, "MOST_RECORDS", 10)
    write(silence(scene.web_interface_id, 0, 35))

    window = dark(aws, [scene.web_interface_id], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert "more than 10 records" in window.check.detail


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"TrafficType": "REJECT"}, "records only what is rejected"),
        ({"LogGroupName": "/example/none"}, "cannot be delivered: Access error"),
        (
            {"LogFormat": "${interface-id} ${srcaddr} ${dstaddr} ${action} ${log-status}"},
            "does not record start, end",
        ),
        (
            {
                "LogDestinationType": "kinesis-data-firehose",
                "LogDestination": f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/example",
            },
            "goes to kinesis-data-firehose, which cannot be read back",
        ),
    ],
)
def test_log_that_cannot_be_used_is_named_with_the_reason(
    aws: Aws, scene: Scene, members: dict[str, Any], reason: str
) -> None:
    boto3.client("logs").create_log_group(logGroupName=GROUP)
    id = create(scene, **members)

    window = dark(aws, [scene.web_interface_id], SINCE, NOW)

    assert (window.verdict, window.check.detail) == (
        Verdict.UNPROVEN,
        f"no flow log of {scene.web_interface_id} can be used: {id} {reason}",
    )


def test_without_a_flow_log_nothing_is_proven(aws: Aws, scene: Scene) -> None:
    window = dark(aws, [scene.web_interface_id], SINCE, NOW)

    assert (window.verdict, window.check.detail) == (
        Verdict.UNPROVEN,
        f"no flow log watches {scene.web_interface_id}",
    )


def test_interface_that_is_gone_is_not_proven_to_be_dark(aws: Aws) -> None:
    window = dark(aws, ["eni-0123456789abcdef0"], SINCE, NOW)

    assert window.check.detail == "eni-0123456789abcdef0 does not exist any more"


def test_log_that_may_not_be_read_proves_nothing(
    aws: Aws, scene: Scene, write: Write, lab: EmulatedAws
) -> None:
    write(silence(scene.web_interface_id, 0, 35))
    fault = {"service": "logs", "operation": "FilterLogEvents", "status": 400}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDeniedException"})

    window = dark(aws, [scene.web_interface_id], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert "AccessDeniedException" in window.check.detail


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({}, "%Y/%m/%d"),
        ({"PerHourPartition": True}, "%Y/%m/%d/%H"),
        (
            {"PerHourPartition": True, "HiveCompatiblePartitions": True},
            "year=%Y/month=%m/day=%d/hour=%H",
        ),
    ],
)
def test_log_in_a_bucket_is_read_by_its_header(
    aws: Aws, scene: Scene, options: dict[str, bool], folder: str
) -> None:
    own = scene.web_interface_id
    id = in_bucket(scene, DestinationOptions={"FileFormat": "plain-text", **options})
    root = (
        f"aws-account-id={ACCOUNT}/aws-service=vpcflowlogs/aws-region={REGION}"
        if "HiveCompatiblePartitions" in options
        else f"{ACCOUNT}/vpcflowlogs/{REGION}"
    )
    for first in range(0, 35, 5):
        at = SINCE + timedelta(minutes=first + 1)
        lines = [swapped(text) for text in silence(own, first, first + 5)]
        name = f"{ACCOUNT}_vpcflowlogs_{REGION}_{id}_{at:%Y%m%dT%H%MZ}_0a1b2c3d.log.gz"
        body = gzip.compress("\n".join([HEADER, *lines, "cut off"]).encode())
        key = f"logs/AWSLogs/{root}/{at:{folder}}/{name}"
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    window = dark(aws, [own], SINCE, NOW)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)


def test_parquet_is_not_read(aws: Aws, scene: Scene) -> None:
    in_bucket(scene, DestinationOptions={"FileFormat": "parquet"})

    window = dark(aws, [scene.web_interface_id], SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN
    assert "parquet, which is not read here" in window.check.detail


def test_peers_are_those_with_most_bytes(aws: Aws, scene: Scene, write: Write) -> None:
    own, local = scene.web_interface_id, scene.web_address
    lines = [
        line(own, 1, remote="203.0.113.9", size=100),
        line(own, 2, remote="203.0.113.9", size=100),
        line(own, 3, remote=REMOTE, size=500),
        line(own, 4, remote="192.0.2.1", size=900, action="REJECT"),
        line(own, 5, remote="192.0.2.2", size=1),
    ]
    write([text.replace(LOCAL, local) for text in lines])

    found = peers(aws, [own], SINCE, NOW, most=2)

    assert found == (ip_address(REMOTE), ip_address("203.0.113.9"))


def test_peers_are_nobody_where_nothing_is_logged(aws: Aws, scene: Scene) -> None:
    assert peers(aws, [scene.web_interface_id], SINCE, NOW) == ()


def test_plan_can_say_whether_darkness_will_be_provable(
    aws: Aws, scene: Scene, write: Write
) -> None:
    before = watched(aws, [scene.web_interface_id, "eni-0123456789abcdef0"])
    after = watched(aws, [scene.web_interface_id])

    assert (before.ok, before.detail) == (False, "eni-0123456789abcdef0 does not exist any more")
    assert (after.ok, after.detail.endswith(f" in {GROUP}")) == (True, True)


def test_custom_format_is_read_by_its_names() -> None:
    names = fields(
        "${flow-direction} ${interface-id} ${srcaddr} ${dstaddr} ${pkt-dstaddr}"
        " ${bytes} ${start} ${end} ${action} ${log-status} ${next-hop-interface-id}"
    )
    text = f"egress eni-1 10.20.1.5 10.20.9.9 {REMOTE} 12 1767362590 1767362650 ACCEPT OK - more"

    (record,) = parse([text], names)

    assert (record.remote([]), record.size) == (ip_address(REMOTE), 12)


def test_lines_that_are_no_records_are_left_out() -> None:
    good = line("eni-1", 0)

    strange = [good.replace("840", "many"), good.replace("ACCEPT", "MAYBE")]

    records = list(parse([good, "bogus line", "", *strange], FORMAT))

    assert len(records) == 1


def test_format_without_a_field_that_is_needed_is_refused() -> None:
    with pytest.raises(Refused, match="action, log-status"):
        list(parse([], fields("${interface-id} ${srcaddr} ${dstaddr} ${start} ${end}")))


SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "aws-vpcflow" / "flowlogs-reader"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here")
@pytest.mark.parametrize("name", ["v2_default.log", "v5_header_custom_order.log"])
def test_real_samples_are_read(name: str) -> None:
    lines = (SAMPLES / name).read_text().splitlines()
    names = FORMAT if name == "v2_default.log" else lines.pop(0).split()

    records = list(parse(lines, names))

    assert len(records) == len([text for text in lines if text != "bogus line"])
    assert {record.status for record in records} <= {"OK", "NODATA", "SKIPDATA"}


def in_bucket(scene: Scene, **members: Any) -> str:
    """Watch the VPC by a log in a bucket."""
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return create(
        scene,
        ResourceType="VPC",
        ResourceIds=[scene.vpc_id],
        LogDestinationType="s3",
        LogDestination=f"arn:aws:s3:::{BUCKET}/logs/",
        **members,
    )


def swapped(text: str) -> str:
    """The same record with its fields in another order, and some left out."""
    value = dict(zip(FORMAT, text.split(), strict=True))
    return " ".join(value[name] for name in HEADER.split())
