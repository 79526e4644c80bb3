"""Switches of Azure and Google Cloud: a shell runs their commands, with tools of our own."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firedoor.discovery import find
from firedoor.errors import BadInput
from firedoor.switch import Order, Switch

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
STORAGE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/logs/providers/Microsoft.Storage"
    "/storageAccounts/examplelogs"
)
VNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web/providers/Microsoft.Network/virtualNetworks/web"  # noqa: E501
AZURE = Order(account=SUBSCRIPTION, region="westeurope", destination=STORAGE)
GCP = Order(account="example-prod", destination="gs://logs-example", organization="123456789012")
SWITCHES = {id_: one for id_, one in find("firedoor.enabling", Switch).items() if not one.apply}
# A tool that writes down what it was asked, and lists two things when it is asked for a list.
TOOL = """#!/bin/sh
printf '%s\\t' "$(basename "$0")" "$@" >> "$ASKED"; echo >> "$ASKED"
case "$*" in
  *get-iam-policy*) cat "$POLICY" ;;
  'resource list'*) printf 'one\\ntwo\\n' ;;
  *list*) printf 'one\\ta\\ntwo\\tb\\n' ;;
  *describe*) echo serviceAccount:writer@example.com ;;
esac
"""


def order(id_: str) -> Order:
    return AZURE if id_.startswith("azure") else GCP


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for tool in ("az", "gcloud"):
        (tmp_path / tool).write_text(TOOL)
        (tmp_path / tool).chmod(0o755)
    (tmp_path / "policy").write_text(
        '{"bindings": [], "etag": "e", "auditConfigs": [{"service": "a"}]}'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("POLICY", str(tmp_path / "policy"))

    def run(*commands: str) -> list[list[str]]:
        (tmp_path / "asked").write_text("")
        for command in commands:
            subprocess.run(command, shell=True, check=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
        return [line.split("\t")[:-1] for line in (tmp_path / "asked").read_text().splitlines()]

    return run


@pytest.mark.parametrize("id_", sorted(SWITCHES))
def test_each_step_is_a_command_and_one_that_takes_it_back(id_: str) -> None:
    steps = SWITCHES[id_].plan(order(id_))

    assert "printed, not applied" in SWITCHES[id_].title
    assert all(step.commands and step.undo and step.cost and not step.calls for step in steps)
    for command in (command for step in steps for command in (*step.commands, *step.undo)):
        subprocess.run(["sh", "-n", "-c", command], check=True)


def test_flow_logs_are_made_for_every_network_of_a_location(shell: Any) -> None:
    (step,) = SWITCHES["azure_flow_logs"].plan(AZURE)

    _, first, second = shell(*step.commands)

    assert first == [
        "az", "network", "watcher", "flow-log", "create", "--name", "firedoor-a", "--vnet", "one",
        "--storage-account", STORAGE, "--enabled", "true", "--log-version", "2",
        "--location", "westeurope", "--subscription", SUBSCRIPTION,
    ]  # fmt: skip
    assert second[6:9] == ["firedoor-b", "--vnet", "two"]
    assert [asked[4:7] for asked in shell(*step.undo)[1:]] == [
        ["delete", "--name", "firedoor-a"], ["delete", "--name", "firedoor-b"],
    ]  # fmt: skip


def test_only_what_is_named_is_meant(shell: Any) -> None:
    (vnet,) = SWITCHES["azure_flow_logs"].plan(replace(AZURE, only=(VNET,)))
    (subnet,) = SWITCHES["gcp_flow_logs"].plan(replace(GCP, only=("europe-west1/web",)))

    ((*_, name, _, id_, _, _, _, _, _, _, _, _, _, _),) = shell(*vnet.commands)
    assert (name, id_) == ("firedoor-web", VNET)
    assert shell(*subnet.commands) == [
        [
            "gcloud", "compute", "networks", "subnets", "update", "web", "--region=europe-west1",
            "--project=example-prod", "--enable-flow-logs",
            "--logging-aggregation-interval=interval-1-min", "--logging-flow-sampling=1.0",
            "--logging-metadata=include-all",
        ]
    ]  # fmt: skip


def test_diagnostic_settings_ask_for_logs_in_json(shell: Any) -> None:
    activity, *kinds = SWITCHES["azure_diagnostics"].plan(AZURE)

    (asked,) = shell(*activity.commands)
    logs = json.loads(asked[asked.index("--logs") + 1])
    assert {"category": "Administrative", "enabled": True} in logs
    for kind in kinds:
        _, first, second = shell(*kind.commands)
        resources = [asked[asked.index("--resource") + 1] for asked in (first, second)]
        assert resources == ["one", "two"]


def test_every_plan_of_defender_is_turned_on_with_its_variant(shell: Any) -> None:
    asked = shell(*(c for step in SWITCHES["azure_defender"].plan(AZURE) for c in step.commands))

    plans = {words[5]: words[words.index("--tier") + 1] for words in asked}
    assert plans.keys() >= {
        "VirtualMachines",
        "StorageAccounts",
        "KeyVaults",
        "Arm",
        "CloudPosture",
    }
    assert set(plans.values()) == {"Standard"}
    assert asked[0][8:10] == ["--subplan", "P2"]


def test_the_writer_of_a_sink_may_write_to_its_bucket(shell: Any) -> None:
    (step,) = SWITCHES["gcp_logs"].plan(GCP)

    created, _, granted = shell(*step.commands)

    filter_ = next(word for word in created if word.startswith("--log-filter="))
    assert '"projects/example-prod/logs/compute.googleapis.com%2Fvpc_flows" OR "' in filter_
    assert "--member=serviceAccount:writer@example.com" in granted


@pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
def test_the_rest_of_an_iam_policy_stays(shell: Any, tmp_path: Path) -> None:
    (step,) = SWITCHES["gcp_audit"].plan(GCP)

    shell(*step.commands)
    after = json.loads((tmp_path / "policy.json").read_text())
    shell(*step.undo)
    back = json.loads((tmp_path / "policy.json").read_text())

    assert (after["etag"], after["bindings"]) == ("e", [])
    assert [one["service"] for one in after["auditConfigs"]] == ["a", "allServices"]
    assert back == json.loads((tmp_path / "policy").read_text())


def test_the_commands_of_security_command_center_are_those_of_today() -> None:
    steps = SWITCHES["gcp_scc"].plan(GCP)

    assert steps[0].commands == (
        "gcloud scc manage services update event-threat-detection"
        " --organization=organizations/123456789012 --enablement-state=ENABLED",
    )
    assert not [one for step in steps for one in step.commands if "settings update" in one]


@pytest.mark.parametrize(
    ("id_", "wrong", "said"),
    [
        ("azure_flow_logs", {"account": "x"}, "subscription: x: expected"),
        ("azure_flow_logs", {"destination": "s3://x"}, "destination: s3://x: expected /sub"),
        ("azure_flow_logs", {"region": ""}, "location: none: expected"),
        ("azure_flow_logs", {"only": ("a; rm -rf /",)}, "name: a; rm -rf /: expected"),
        ("gcp_logs", {"account": "$(x)"}, "project: .*: expected"),
        ("gcp_logs", {"destination": "gs://a;b"}, "destination: .*: expected gs://bucket"),
        ("gcp_scc", {"organization": "example.com"}, "organization: .*: expected its number"),
        ("gcp_flow_logs", {"only": ("web",)}, "subnet: web: expected region/subnet"),
    ],
)
def test_an_order_that_lacks_something_is_said(id_: str, wrong: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        SWITCHES[id_].plan(replace(order(id_), **wrong))
