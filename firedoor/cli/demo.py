"""The demo: two incidents from finding to release, on this machine and in an emulated account."""

import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from firedoor.cli._desk import Desk
from firedoor.cli._play import Asked, Clock, Play, report
from firedoor.cli._stage import IDENTITY, changed, observe, open_house, place, remains
from firedoor.cli._teller import Teller
from firedoor.cli.arguments import Yes
from firedoor.cli.output import Json, can_ask, confirm, document, progress
from firedoor.errors import Refused
from firedoor.lab import findings
from firedoor.model.action import Nature
from firedoor.model.incident import MOVING, Incident, StepRecord, StepState
from firedoor.model.plan import Verdict
from firedoor.model.word import Answer
from firedoor.settings import settings

app = typer.Typer(rich_markup_mode=None)

STAND_IN = "demo"  # who decides where nobody is asked
REASON = "this is the demo"


@app.command()
def demo(
    yes: Yes = False,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep histories, evidence, database and logs there."),
    ] = None,
    json: Json = False,
) -> None:
    """Live through two incidents in an emulated account.

    Starts all that it needs on this machine, and leaves nothing running. Asks for decisions on a
    terminal; with --yes, with --json or without a terminal it decides by itself. To deny is no
    failure: the step is left out.
    """
    asking = can_ask() and sys.stdout.isatty() and not (yes or json)
    clock, teller = Clock(), Teller(silent=json)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    teller.title("Firedoor: two incidents, from finding to release")
    teller.title("", "AWS is emulated on this machine: no account is needed, and none is touched.")
    with place(keep) as directory, ExitStack() as running:
        with clock.phase("start", "starting Temporal, an emulated AWS and a worker"):
            house = running.enter_context(open_house(directory, None if asking else STAND_IN))
            desk = running.enter_context(Desk(house.worker.require))
            play = Play(house, desk, clock, teller, asking, observe(house.scene))
        _run(play)
        told = report(play, settings().responder)
        with clock.phase("stop", "stopping all of it"):
            running.close()
    _end(clock, teller, told | {"kept": keep and str(directory)}, json=json)


def _run(play: Play) -> None:
    """Tell the story."""
    act, scene = play.teller.act, play.house.scene
    act("The house", "Temporal's own server, an emulated AWS, and a worker with the intake.")
    _introduce(play)
    act(
        "Somebody tries passwords on the web server",
        "GuardDuty tells EventBridge, which fills a queue, which the intake reads.",
    )
    _respond(play, findings.ssh_brute_force(scene))
    act(
        "The app server talks to a command and control server",
        "Evidence first; then credentials, network and address, each if approved.",
    )
    _respond(play, findings.command_and_control(scene))
    act("What is on record", "What each incident tells of itself, in seconds since its beginning.")
    _look_back(play)
    act("The way back", "What was changed is taken back, last first, and AWS itself is asked.")
    _take_back(play)
    act("The audit", "The histories are exported and replayed: would the code decide the same?")
    _audit(play)


# The acts


def _introduce(play: Play) -> None:
    house, scene, who = play.house, play.house.scene, settings().responder
    itself = f"{who} itself (--yes, or no terminal to ask at)"
    play.teller.facts(
        ("Temporal UI", f"{house.server.ui} (while this runs)"),
        ("AWS", f"{house.aws.endpoint} (emulated), account {scene.account}"),
        ("instances", f"{scene.web_id} (web), {scene.app_id} (app)"),
        ("worker", f"user {IDENTITY}, with only the rights that its actions name"),
        ("decides", f"{who}, at this terminal" if play.asking else itself),
    )


def _respond(play: Play, finding: dict[str, Any]) -> None:
    """Let GuardDuty find something, and follow what comes of it until all is at rest."""
    began = time.monotonic()
    with play.clock.phase("finding to plan", "waiting for the plan"):
        play.house.detect(finding)
        id = play.desk.incident_about(finding["resource"]["instanceDetails"]["instanceId"]).id
        incident = play.desk.until(id, _is_settled)
    play.incidents.append(id)
    play.teller.incident(incident, time.monotonic() - began)
    while record := _question(incident):
        _put(play, incident, record)
        with progress("waiting for what goes on beside it"):
            incident = play.desk.until(id, _is_settled)
    _tell_unasked(play, incident)


def _put(play: Play, incident: Incident, record: StepRecord) -> None:
    """Put a plan to the responder, bring the answer, and see whether it had its effect."""
    for plan in record.proposal.plans if record.proposal else ():
        play.teller.plan(record.key, plan)
    before = observe(play.house.scene)
    answer = _answer(play, record)
    began = time.monotonic()
    with play.clock.phase("answer to proof", f"{record.key}: waiting for the proof"):
        ruling = play.desk.decide(incident, record, answer, REASON)
        if not ruling.accepted:
            raise Refused(f"the answer on {record.key} was refused: {ruling.reason}")
        incident = play.desk.until(incident.id, lambda now: _is_answered(now, record))
    seconds = time.monotonic() - began
    now = _step(incident, record.key)
    asked = Asked(incident.id, now, answer, before, observe(play.house.scene))
    play.asked.append(asked)
    if answer is Answer.APPROVE:
        _tell_contained(play, asked, seconds)
    else:
        _tell_denied(play, asked)


def _look_back(play: Play) -> None:
    for id in play.incidents:
        play.teller.timeline(play.desk.read(id))


def _take_back(play: Play) -> None:
    """Let go what is held, compare AWS with what it was before, and close the incidents."""
    for asked in reversed(play.asked):
        if asked.record.leases:
            _release(play, asked)
    differing = ", ".join(changed(play.before, observe(play.house.scene)))
    same = "interfaces, ACLs and roles are as before the demo"
    play.teller.check(not differing, same, f"not as before the demo: {differing}")
    play.remains = remains(play.house.scene)
    for thing in play.remains:
        play.teller.facts(("stays", thing))
    for id in play.incidents:
        ruling = play.desk.close(id, REASON)
        play.teller.check(ruling.accepted, f"closed {id}", f"{id} stays open: {ruling.reason}")


def _release(play: Play, asked: Asked) -> None:
    """Let go what a step holds, and compare AWS with what it was before that step."""
    key = asked.record.key
    play.leases += asked.record.leases
    with play.clock.phase("release", f"letting go {key}"):
        released = play.desk.release(asked.incident, key, REASON)
    asked.released = observe(play.house.scene)
    if not released.ruling.accepted:
        raise Refused(f"{key} was not released: {released.ruling.reason}")
    (step,) = released.steps
    fact = f"{key} is {step.state}"
    play.teller.check(step.state is StepState.RELEASED, fact, f"{fact}: {step.reason}")
    play.teller.difference(asked.after, asked.released)
    same = f"as before {key}: {', '.join(asked.touched)}"
    play.teller.check(asked.restored, same, f"not {same}")


def _audit(play: Play) -> None:
    """Export the history of everything that ran, and replay the files."""
    directory = play.house.directory / "histories"
    directory.mkdir()
    with play.clock.phase("replay", "exporting and replaying"):
        files = [play.desk.export(id, directory) for id in (*play.incidents, *play.leases)]
        play.replays += [play.desk.replay(file) for file in files]
    for one in play.replays:
        fact = f"{one.events} events the same, of {one.workflow}"
        play.teller.check(one.ok, fact, f"{one.workflow}: {'; '.join(one.differences)}")


# Questions and answers


def _question(incident: Incident) -> StepRecord | None:
    return next((record for record in incident.steps if record.state is StepState.ASKING), None)


def _answer(play: Play, record: StepRecord) -> Answer:
    """Ask the person at the terminal; where nobody is asked, the answer is yes."""
    if not play.asking:
        play.teller.facts(("answer", f"yes, decided by {settings().responder} itself"))
        return Answer.APPROVE
    with play.clock.phase("waiting for answers"):
        try:
            return Answer.APPROVE if confirm(f"   Approve {record.key}?") else Answer.DENY
        except typer.Abort as error:
            raise KeyboardInterrupt from error


def _is_settled(incident: Incident) -> bool:
    """Whether a person is asked and all plans are on the table, or nothing moves any more."""
    states = {record.state for record in incident.steps}
    if states & {StepState.PLANNING, StepState.APPLYING}:
        return False
    return StepState.ASKING in states or not states & MOVING


def _is_answered(incident: Incident, asked: StepRecord) -> bool:
    """Whether the answer on a step had its effect, or the step has another plan by now."""
    now = _step(incident, asked.key)
    return now.plan_digest != asked.plan_digest or now.state not in MOVING


def _step(incident: Incident, key: str) -> StepRecord:
    return next(record for record in incident.steps if record.key == key)


def _holds(record: StepRecord) -> bool:
    """Whether reading back shows it; silence in the logs takes longer to prove than a demo."""
    verdicts = {proof.verdict for proof in record.proofs}
    return bool(verdicts) and Verdict.DRIFTED not in verdicts


# What came of it


def _tell_contained(play: Play, asked: Asked, seconds: float) -> None:
    """Tell what Firedoor proved, and what AWS itself shows."""
    record = asked.record
    fact = f"{record.key} is {record.state}"
    in_time = f"{fact}, {seconds:.1f} s later:"
    play.teller.check(_holds(record), in_time, f"{fact}: {record.reason}")
    play.teller.proofs(record)
    plans = record.proposal.plans if record.proposal else ()
    planned = sorted({change.resource for plan in plans for change in plan.changes})
    same = "AWS shows what was planned, and nothing else:"
    otherwise = f"{record.key}: AWS shows changes of {asked.touched}, and planned were {planned}"
    play.teller.check(asked.touched == planned, same, otherwise)
    play.teller.difference(asked.before, asked.after)


def _tell_unasked(play: Play, incident: Incident) -> None:
    """Tell what became of the steps for which the runbook asks nobody."""
    play.teller.gap()
    for record in incident.steps:
        if record.votes:
            continue
        fact = f"{record.key} is {record.state}"
        fine = record.state is StepState.DONE or _holds(record)
        if record.state is StepState.REFUSED and record.capability.nature is Nature.EVIDENCE:
            play.teller.facts(("--", f"{record.key} was left out: {record.reason}"))
            continue
        play.teller.check(fine, fact, f"{fact}: {record.reason}")
        play.teller.proofs(record)


def _tell_denied(play: Play, asked: Asked) -> None:
    fact = f"{asked.record.key} is {asked.record.state}"
    left_out = f"{fact}: it is left out, and the rest goes on"
    play.teller.check(asked.record.state is StepState.DENIED, left_out, f"{fact}, not denied")
    otherwise = f"{asked.record.key} was denied, and AWS shows changes of {asked.touched}"
    play.teller.check(not asked.touched, "AWS is unchanged", otherwise)


def _end(clock: Clock, teller: Teller, told: dict[str, Any], *, json: bool) -> None:
    """Say how it ended; raises `Refused` if anything was not as it should be."""
    problems = teller.problems
    if json:
        document({**told, "ok": not problems, "problems": problems, **clock.told()})
    teller.gap()
    end = "Failed after" if problems else "Done in"
    teller.title(f"{end} {clock.seconds:.1f} s", "; nothing of it runs any more.")
    teller.facts(
        ("seconds", ", ".join(f"{name} {took:.1f}" for name, took in clock.phases.items())),
        ("kept", told["kept"] or "nothing (--keep DIR keeps histories, evidence and logs)"),
        ("next", "firedoor up --emulated-aws, to try it out by hand"),
    )
    if problems:
        raise Refused(f"not as it should be: {'; '.join(problems)}")
