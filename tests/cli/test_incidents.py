"""Listing, showing, following and closing incidents, on a real server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from firedoor.model.finding import Finding
from firedoor.model.incident import Incident
from firedoor.testing import ACCOUNT, World, finding, instance, step
from worker.client import deliver
from worker.server import DevServer

Cli = Callable[..., Awaitable[Any]]


async def listed(cli: Cli, *filters: str) -> list[str]:
    ended = await cli("incidents", "--json", *filters)
    assert ended.status == 0, ended.err
    return [found["id"] for found in ended.document]


def elsewhere(incident: str) -> Finding:
    """Return a finding about an instance of the same id in another region."""
    subject = instance(incident.rpartition("/")[2]).model_copy(update={"region": "eu-west-1"})
    return finding(subject=subject)


async def watch(cli: Cli, incident: str) -> Any:
    return await cli("watch", incident, "--json")


async def closed(cli: Cli, incident: str) -> None:
    await cli("deny", incident, "--yes", "--reason", "no")
    ended = await cli("close", incident, "--reason", "false alarm")
    assert ended == (0, f"closed {incident}\n", "")


async def test_open_incident_is_listed_under_what_it_is(cli: Cli, incident: str) -> None:
    assert incident in await listed(cli)
    assert incident in await listed(
        cli, "--awaiting", "--account", ACCOUNT, "--severity-at-least", "8"
    )
    assert incident in await listed(cli, "--type", "Backdoor:EC2/C&CActivity.B")
    assert incident in await listed(cli, "--status", "awaiting approval", "--all")


async def test_filters_keep_others_out(cli: Cli, incident: str) -> None:
    assert incident not in await listed(cli, "--closed")
    assert incident not in await listed(cli, "--severity-at-least", "8.1")
    assert incident not in await listed(cli, "--account", "000000000000")
    assert incident not in await listed(cli, "--status", "contained")


async def test_filter_is_a_value_and_never_a_query(cli: Cli, incident: str) -> None:
    assert incident not in await listed(cli, "--type", "' OR WorkflowType = 'Incident")
    assert incident not in await listed(cli, "--type", "\\' OR WorkflowType = 'Incident' --")


async def test_limit_bounds_the_list(cli: Cli, incident: str) -> None:
    assert len(await listed(cli, "--all", "--limit", "1")) == 1


async def test_incident_is_found_by_the_end_of_its_id(cli: Cli, incident: str, room: str) -> None:
    whole, part = await cli("show", incident, "--json"), await cli("show", room, "--json")

    assert Incident.model_validate(part.document) == Incident.model_validate(whole.document)


async def test_ambiguous_end_is_bad_input_with_the_candidates(
    cli: Cli, incident: str, client: Client, world: World
) -> None:
    twin = await deliver(client, world.arrival(elsewhere(incident), step("close", "close_door")))

    ended = await cli("show", incident.rpartition("/")[2])

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.endswith(f"fits 2 incidents: {', '.join(sorted([incident, twin.incident]))}\n")


async def test_unknown_incident_is_refused(cli: Cli, client: Client) -> None:
    ended = await cli("show", "i-nothing")
    exactly = await cli("show", "incident/nothing")

    assert (ended.status, exactly.status) == (1, 1)
    assert ended.err.startswith("firedoor: there is no incident i-nothing;")
    assert exactly.err.startswith("firedoor: there is no incident/nothing;")


@pytest.mark.parametrize("command", [("show",), ("close", "--reason", "x")])
async def test_containment_is_no_incident(
    cli: Cli, client: Client, command: tuple[str, ...]
) -> None:
    name, *options = command

    ended = await cli(name, "containment/doors.close_door/x", *options)

    expected = "this is a containment; expected an incident that holds it"
    assert ended == (2, "", f"firedoor: containment/doors.close_door/x: {expected}\n")


async def test_plan_is_shown_as_a_difference_with_its_digest(
    cli: Cli, incident: str, room: str, client: Client
) -> None:
    known: Incident = await client.get_workflow_handle(incident).query(
        "incident", result_type=Incident
    )

    ended = await cli("show", room)

    assert f"Close the door of {room}" in ended.out
    assert "      - open\n      + closed\n" in ended.out
    assert f"digest {known.steps[0].plan_digest}" in ended.out
    assert "\x1b" not in ended.out


async def test_only_the_plans_or_only_the_timeline_are_shown(cli: Cli, incident: str) -> None:
    plans = await cli("show", incident, "--plan")
    timeline = await cli("show", incident, "--timeline")

    assert ("+ closed" in plans.out, "finding.arrived" in plans.out) == (True, False)
    assert ("+ closed" in timeline.out, "finding.arrived" in timeline.out) == (False, True)


async def test_incident_that_waits_is_not_closed(cli: Cli, incident: str) -> None:
    ended = await cli("close", incident, "--reason", "tired", "--json")

    assert (ended.status, ended.document["accepted"]) == (1, False)
    assert ended.err == f"firedoor: {incident} stays open: {ended.document['reason']}\n"


async def test_close_needs_a_reason(cli: Cli) -> None:
    ended = await cli("close", "i-0abc")

    assert (ended.status, ended.err) == (
        2,
        "firedoor: --reason: say why; it is kept with the incident\n",
    )


async def test_closed_incident_is_listed_shown_and_closed_for_good(cli: Cli, incident: str) -> None:
    await closed(cli, incident)

    shown = await cli("show", incident, "--json")
    again = await cli("close", incident, "--reason", "again")
    assert shown.document["status"] == "closed"
    assert again.status == 1
    assert incident in await listed(cli, "--closed")


async def test_watching_ends_when_the_incident_is_closed(cli: Cli, incident: str) -> None:
    watching: asyncio.Task[Any] = asyncio.create_task(watch(cli, incident))
    await asyncio.sleep(1.5)

    await closed(cli, incident)

    watched = await asyncio.wait_for(watching, 30)
    states = [json.loads(line)["status"] for line in watched.out.splitlines()]
    assert (watched.status, states[0], states[-1]) == (0, "awaiting approval", "closed")


async def test_watching_without_a_terminal_tells_each_event_once(
    cli: Cli, incident: str, world: World
) -> None:
    await closed(cli, incident)

    watched = await cli("watch", incident)

    events = [line.split()[2] for line in watched.out.splitlines()]
    assert (watched.status, events[0], events[-1]) == (0, "finding.arrived", "incident.closed")
    assert events.count("finding.arrived") == 1


@pytest.mark.slow
async def test_open_incident_without_a_worker_is_told_in_seconds(
    cli: Cli, server: DevServer, world: World, room: str
) -> None:
    client = await Client.connect(server.address, data_converter=pydantic_data_converter)
    arrival = world.arrival(finding(subject=instance(room)), step("close", "close_door"))
    id = (await deliver(client, arrival)).incident  # the queue is one that nobody serves

    ended = await cli("show", id, TEMPORAL_ADDRESS=server.address)

    expected = f"firedoor: no worker answers for {id}; is `firedoor worker` running?\n"
    assert ended == (3, "", expected)
