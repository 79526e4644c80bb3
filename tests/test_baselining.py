"""Baselines at work: from rows of logs to what is normal, and findings of what is not."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firedoor import baseline, baselining, detecting
from firedoor.baseline import DAY, HOUR, Span, Verdict
from firedoor.baselining import Direct, Entity, Rollup
from firedoor.collector import Blob
from firedoor.errors import BadInput
from firedoor.lake.duck import Duck
from firedoor.lake.store import Store, Written
from firedoor.log_source import Parsed
from firedoor.model.finding import Kind, Side

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
BEGIN = baseline.epoch(START)
ACCOUNT = "123456789012"
INSTANCE = "i-0a1b2c3d4e5f60718"
PLACE: dict[str, Any] = {"cloud": "aws", "account": ACCOUNT, "region": "eu-central-1"}
GB = 10**9

Rows = dict[str, list[dict[str, Any]]]


def sent(at: int, amount: int, **other: Any) -> dict[str, Any]:
    return PLACE | {
        "time": at, "action": "Allowed", "src_ip": "10.0.1.5", "dst_ip": "198.51.100.7",
        "bytes": amount, "resource": INSTANCE,
    } | other  # fmt: skip


def outbound(days: int, last: int, **other: Any) -> Rows:
    """Return 2 GB a day in two flows, and `last` on the day after."""
    usual = [
        sent(BEGIN + day * DAY + hour * HOUR, GB, **other) for day in range(days) for hour in (1, 9)
    ]
    return {"network_activity": [*usual, sent(BEGIN + days * DAY + HOUR, last, **other)]}


def logins(days: int, last: int, user: str = "alice") -> Rows:
    """Return one success an hour, and on the day after `last` failures of a user in an hour."""
    common = PLACE | {"user_type": "IAMUser", "user_name": user}
    fine = [common | {"time": BEGIN + h * HOUR, "status": "Success"} for h in range(days * 24)]
    failed = [
        common | {"time": BEGIN + days * DAY + 3 * HOUR + n, "status": "Failure"}
        for n in range(last)
    ]
    return {"authentication": fine + failed}


def asked(days: int, new: list[str]) -> Rows:
    """Return the same name asked each hour, and new ones in an hour of the day after."""
    common = PLACE | {"resource": INSTANCE, "src_ip": "10.0.1.5", "rcode": "NOERROR"}
    usual = [_question(common, BEGIN + h * HOUR, "a.example.com") for h in range(days * 24)]
    late = [_question(common, BEGIN + days * DAY + HOUR, name) for name in new]
    return {"dns_activity": usual + late}


@pytest.fixture
def duck() -> Iterator[Duck]:
    with Duck() as duck:
        yield duck


def measured(duck: Duck, rows: Mapping[str, Any]) -> Direct:
    duck.put(detecting.tables(rows))
    return Direct(duck)


def after(days: int, **more: float) -> datetime:
    return START + timedelta(days=days, **more)


def test_the_normal_of_an_instance_is_learned_from_the_days_before(duck: Duck) -> None:
    logs = measured(duck, outbound(20, 2 * GB))

    account, instance = sorted(
        baselining.shown("outbound_bytes", logs, after(20, hours=2)),
        key=lambda one: one.entity,
    )

    assert account.entity == Entity("aws", ACCOUNT)
    assert instance.entity == Entity("aws", ACCOUNT, "eu-central-1", "resource", INSTANCE)
    assert instance.value == pytest.approx(instance.normal.middle) == 2 * GB
    assert (instance.normal.days, instance.verdict) == (20, Verdict.NORMAL)


def test_who_was_not_seen_in_this_hour_is_shown_as_it_was_in_the_last(duck: Duck) -> None:
    logs = measured(duck, logins(15, 18))

    at_once, next_day, asked_for = (
        baselining.shown("failed_logins", logs, after(15, hours=hours), entity=entity)
        for hours, entity in ((20, ""), (40, ""), (40, "alice"))
    )

    assert {(one.start, one.verdict) for one in at_once} == {
        (BEGIN + 15 * DAY + 3 * HOUR, Verdict.ABOVE)
    }
    assert next_day == []
    assert [one.entity.name for one in asked_for] == ["alice"]


def test_far_more_than_normal_is_a_finding_about_the_instance_and_not_its_account(
    duck: Duck,
) -> None:
    logs = measured(duck, outbound(20, 30 * GB))

    (finding,) = baselining.findings(logs, after(20, hours=2), ids=["outbound_bytes"])

    assert (finding.subject.kind, finding.subject.id) == (Kind.INSTANCE, INSTANCE)
    assert (finding.type, finding.side) == ("Behavior:Network/OutboundBytes", Side.ACTOR)
    assert (finding.source, finding.first_seen) == ("detections", after(20))
    assert finding.description == (
        f"Outbound traffic of {INSTANCE} in the day from 2026-01-25 00:00 UTC on: 30 GB,"
        " threshold 10.7 GB; normal is 681 MB to 4.79 GB (learned from 20 days)"
    )


def test_looking_again_finds_the_same(duck: Duck) -> None:
    logs = measured(duck, outbound(20, 30 * GB))

    first, second = (
        baselining.findings(logs, after(20, hours=hours), ids=["outbound_bytes"])
        for hours in (2, 40)
    )

    assert [one.id for one in first] == [one.id for one in second]


def test_while_learning_the_thresholds_of_old_hold(duck: Duck) -> None:
    below, over = (
        baselining.findings(
            measured(duck, outbound(3, amount * GB)), after(3, hours=2), ids=["outbound_bytes"]
        )
        for amount in (49, 51)
    )

    assert below == []
    assert "learning: 3 of 14 days; the default threshold 50 GB holds" in over[0].description


def test_where_no_resource_is_told_the_interface_is_the_entity(duck: Duck) -> None:
    logs = measured(duck, outbound(20, 30 * GB, resource=None, interface="eni-0123456789abcdef0"))

    (finding,) = baselining.findings(logs, after(20, hours=2), ids=["outbound_bytes"])

    assert finding.subject.id == "eni-0123456789abcdef0"


def test_traffic_inside_and_what_was_denied_is_not_sent_to_the_internet(duck: Duck) -> None:
    inside = outbound(20, 30 * GB, dst_ip="10.0.2.9")
    denied = outbound(20, 30 * GB, action="Denied")

    for rows in (inside, denied):
        assert not baselining.findings(measured(duck, rows), after(20, hours=2))


def test_a_user_whose_logins_never_failed_is_known_to_be_quiet(duck: Duck) -> None:
    logs = measured(duck, logins(15, 18))

    (finding,) = baselining.findings(logs, after(15, hours=4), ids=["failed_logins"])

    assert finding.subject.id == "user/alice"
    assert finding.side is Side.TARGET
    assert "18, threshold 17" in finding.description


def test_a_failed_login_more_or_less_is_none(duck: Duck) -> None:
    logs = measured(duck, logins(15, 10))

    assert baselining.findings(logs, after(15, hours=4), ids=["failed_logins"]) == []


def test_an_account_has_a_finding_where_no_single_user_explains_it(duck: Duck) -> None:
    rows = [row for n in range(20) for row in logins(15, 2, f"user{n}")["authentication"]]
    logs = measured(duck, {"authentication": rows})

    (finding,) = baselining.findings(logs, after(15, hours=4), ids=["failed_logins"])

    assert (finding.subject.kind, finding.subject.id) == (Kind.ACCOUNT, ACCOUNT)


def test_a_share_of_few_flows_is_none(duck: Duck) -> None:
    few, many = (
        baselining.findings(
            measured(duck, _rejected(15, flows)), after(15, hours=2), ids=["rejected_share"]
        )
        for flows in (900, 1100)
    )

    assert few == []
    assert [one.subject.id for one in many] == ["vpc-0123456789abcdef0"]


def test_a_new_top_level_domain_is_named(duck: Duck) -> None:
    logs = measured(duck, asked(25, ["b.example.com", "update.example.zip"]))

    (finding,) = baselining.findings(logs, after(25, hours=2), ids=["dns_suffixes"])

    assert finding.description.endswith("\nnew: zip")
    assert "(learned from 18 days)" in finding.description
    assert finding.domains == ()
    assert finding.subject.id == INSTANCE


def test_a_top_level_domain_that_every_machine_asks_for_is_never_new(duck: Duck) -> None:
    logs = measured(duck, asked(25, ["www.example.org"]))

    assert baselining.findings(logs, after(25, hours=2), ids=["dns_suffixes"]) == []


def test_what_two_machines_ask_for_first_is_one_new_domain_of_their_account(duck: Duck) -> None:
    rows = asked(25, [f"www.example{n}.com" for n in range(3)])["dns_activity"]
    rows += [row | {"resource": "i-0fedcba9876543210"} for row in rows[-3:]]
    logs = measured(duck, {"dns_activity": rows})

    shown = baselining.shown("dns_domains", logs, after(25, hours=2))

    assert {(one.entity.name, one.value) for one in shown} == {
        ("", 3),
        (INSTANCE, 3),
        ("i-0fedcba9876543210", 3),
    }


def test_a_few_new_domains_are_normal_and_many_are_not(duck: Duck) -> None:
    few, many = (
        baselining.findings(
            measured(duck, asked(25, [f"www.example{n}.com" for n in range(count)])),
            after(25, hours=2),
            ids=["dns_domains"],
        )
        for count in (10, 25)
    )

    assert few == []
    assert len(many[0].domains) == 20


def test_where_knowledge_begins_nothing_is_new(duck: Duck) -> None:
    logs = measured(duck, asked(5, [f"www.example{n}.com" for n in range(100)]))

    assert baselining.findings(logs, after(5, hours=2)) == []


def test_a_call_at_night_is_compared_with_other_nights(duck: Duck) -> None:
    caller: dict[str, Any] = PLACE | {"actor_type": "AssumedRole", "actor": "app"}
    rows = [
        caller | {"time": BEGIN + day * DAY + hour * HOUR + n}
        for day in range(21)
        for hour in range(8, 18)
        for n in range(60)
    ]
    rows += [PLACE | {"actor": None, "time": BEGIN + hour * HOUR} for hour in range(21 * 24)]
    night, noon = (
        rows + [caller | {"time": BEGIN + 21 * DAY + hour * HOUR + n} for n in range(250)]
        for hour in (3, 12)
    )

    found = [
        baselining.findings(measured(duck, {"api_activity": some}), after(21, hours=hour + 1),
                            ids=["api_calls"])
        for some, hour in ((night, 3), (noon, 12))
    ]  # fmt: skip

    assert [[one.subject.id for one in some] for some in found] == [["role/app"], []]


def test_many_new_principals_in_an_hour_are_a_finding_and_services_are_none(duck: Duck) -> None:
    caller = PLACE | {"actor_type": "IAMUser", "actor": "alice"}
    usual = [caller | {"time": BEGIN + hour * HOUR} for hour in range(25 * 24)]
    people, services = (
        [caller | {"time": BEGIN + 25 * DAY, "actor": f"new{n}{end}"} for n in range(5)]
        for end in ("", ".amazonaws.com")
    )

    found = [
        baselining.findings(measured(duck, {"api_activity": usual + some}), after(25, hours=1),
                            ids=["api_callers"])
        for some in (people, services)
    ]  # fmt: skip

    assert [[one.subject.id for one in some] for some in found] == [[ACCOUNT], []]
    assert found[0][0].description.endswith("\nnew: new0, new1, new2, new3, new4")


def test_a_machine_that_has_just_begun_is_not_compared_with_its_absence(duck: Duck) -> None:
    rows = outbound(20, 2 * GB)["network_activity"]
    rows += [sent(BEGIN + 20 * DAY, 12 * GB, resource="i-0fedcba9876543210")]
    logs = measured(duck, {"network_activity": rows})

    found = baselining.shown(
        "outbound_bytes", logs, after(20, hours=2), entity="i-0fedcba9876543210"
    )

    assert [(one.verdict, one.normal.warm) for one in found] == [(Verdict.RAISED, False)]


def test_days_of_an_incident_are_left_out(duck: Duck) -> None:
    rows = {
        "network_activity": [
            sent(BEGIN + day * DAY, (20 if 17 <= day < 21 else 2) * GB) for day in range(24)
        ]
    }
    logs = measured(duck, rows)
    span = Span(after(17), after(21), account=ACCOUNT, entity=INSTANCE)

    one = baselining.shown("outbound_bytes", logs, after(23, hours=2), entity=INSTANCE)
    (without,) = baselining.shown(
        "outbound_bytes", logs, after(23, hours=2), entity=INSTANCE, spans=[span]
    )

    assert (one[0].normal.samples, without.normal.samples) == (23, 19)
    assert (without.normal.threshold or 0) < (one[0].normal.threshold or 0)


def test_a_name_with_a_quote_is_a_name(duck: Duck) -> None:
    logs = measured(duck, logins(15, 150, "o'neil :until"))

    (finding,) = baselining.findings(logs, after(15, hours=4), ids=["failed_logins"])

    assert finding.subject.id == "user/o'neil :until"


def test_without_logs_nothing_is_found(duck: Duck) -> None:
    assert baselining.findings(Direct(duck), START) == []


def test_a_rollup_says_what_asking_says(tmp_path: Path, duck: Duck) -> None:
    ids = ("outbound_bytes", "failed_logins", "dns_suffixes")
    rows = outbound(22, 30 * GB) | logins(22, 150) | asked(22, ["www.example.zip"])
    direct = baselining.findings(measured(duck, rows), after(22, hours=4), after(22), ids=ids)

    with Store(tmp_path) as store:
        keep(store, "first", rows)
        kept = baselining.findings(Rollup(store), after(22, hours=4), after(22), ids=ids)

    assert kept == direct
    assert len(kept) == 3


def test_late_data_is_measured_and_all_else_is_left(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        keep(store, "first", outbound(3, 0))
        before = _files(Rollup(store))
        keep(store, "late", {"network_activity": [sent(BEGIN + DAY, 5 * GB)]})
        after_ = _files(Rollup(store))
        values = Rollup(store).rows("outbound_bytes", BEGIN, BEGIN + 3 * DAY)["value"].to_pylist()

    assert len(before - after_) == len(after_ - before) == 1
    assert values == [2 * GB, 7 * GB, 2 * GB]


def test_what_the_store_has_dropped_stays_known(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        keep(store, "first", outbound(3, 0))
        before = _files(Rollup(store))
        store.retain(1, after(30))

        assert store.files() == []
        assert _files(Rollup(store)) == before


def test_rebuilding_measures_anew_what_the_store_has(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        keep(store, "first", outbound(3, 0))
        rollup = Rollup(store)
        before = _files(rollup)
        (tmp_path / "baselines/outbound_bytes/2025-01-01.0.parquet").write_bytes(b"")
        broken = next(tmp_path.glob("baselines/outbound_bytes/2026*"))
        broken.write_bytes(b"")
        with pytest.raises(BadInput, match="firedoor baseline rebuild"):
            _files(rollup)

        rollup.rebuild(after(4))

        assert _files(rollup) == before
        assert broken.stat().st_size > 0


def keep(store: Store, name: str, rows: Mapping[str, Any]) -> None:
    """Keep rows in a store, as if an object of that name had been read."""
    blob = Blob(name=name, version="1", size=1, modified=START)
    written = Written(store.root, blob, source="test")
    written.add(Parsed(detecting.tables(rows)))
    written.close()
    store.keep(written, START)


def _files(rollup: Rollup) -> set[str]:
    rollup.rows("outbound_bytes", BEGIN, BEGIN + 4 * DAY)
    return {path.name for path in (rollup.root / "outbound_bytes").iterdir()}


def _question(common: dict[str, Any], at: int, name: str) -> dict[str, Any]:
    domain = ".".join(name.split(".")[-2:])
    return common | {
        "time": at, "hostname": name, "domain": domain, "suffix": name.rpartition(".")[2],
    }  # fmt: skip


def _rejected(days: int, flows: int) -> Rows:
    """Return 1100 flows at noon of each day, and then an hour with a tenth of them denied."""
    common: dict[str, Any] = PLACE | {"network": "vpc-0123456789abcdef0", "action": "Allowed"}
    usual = [
        common | {"time": BEGIN + day * DAY + 12 * HOUR + n}
        for day in range(days)
        for n in range(1100)
    ]
    late = [
        common
        | {
            "time": BEGIN + days * DAY + HOUR + n,
            "action": "Denied" if n < flows / 10 else "Allowed",
        }
        for n in range(flows)
    ]
    return {"network_activity": usual + late}
