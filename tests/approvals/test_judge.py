"""Rulings on what people say to an incident, by every rule that a policy can have."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from firedoor.approvals import sshsig
from firedoor.approvals.judge import (
    MOST_VOTES,
    Case,
    chosen,
    counted,
    electorate,
    judge,
    may_close,
    may_release,
    rule_for,
    unratified,
    waits,
)
from firedoor.lab.security_keys import security_key
from firedoor.model.action import Barrier, Nature
from firedoor.model.approval import OWNER, Rule, StandingAuthority, Tier
from firedoor.model.base import digest
from firedoor.model.decision import Proposal, Ruling, Vote
from firedoor.model.finding import Resource, Severity
from firedoor.model.incident import Capability, StepRecord, StepState
from firedoor.model.plan import Call, CallRecord, Outcome, Plan, Receipt, Target, Touched
from firedoor.model.policy import Account, Policy
from firedoor.model.responder import Gateway, Key, Roster
from firedoor.model.runbook import Approval
from firedoor.model.word import (
    Answer,
    ChatRelay,
    Close,
    Decision,
    Heard,
    Ratification,
    Relayed,
    Release,
    Signed,
    SshSignature,
    StsRequest,
    Voucher,
    signable,
    signed_by,
)
from firedoor.testing import (
    NOW,
    instance,
    key_of,
    policy,
    private_key,
    responder,
    roster,
    signed,
    step,
)

YES, NO = Answer.APPROVE, Answer.DENY
MINUTE = timedelta(minutes=1)
ARN = "arn:aws:sts::123456789012:assumed-role/Responder/ann"
TEAM = roster(
    ann=responder("ann", "security", arns=(ARN,), slack="U1"),
    ben=responder("ben", "security", "leads"),
    cat=responder("cat", "platform", email="cat@example.com"),
).model_copy(update={"gateways": {"chat": Gateway(keys=(key_of("the gateway"),))}})
TARGET = Target(subject=instance(), incident="incident/x", step="door", at=NOW)
CLOSE = Call(service="doors", operation="Close", parameters={})
PROPOSAL = Proposal(
    step="door",
    plans=(
        Plan(
            action="fake.close_door", target=TARGET, lease="room", summary="Close it",
            calls=(CLOSE,), touched=Touched(resources={"i-1": {"Owner": "Cat@example.com"}}),
        ),
    ),
)  # fmt: skip
ASKED = StepRecord(
    key="door",
    runbook="test",
    step=step("door", "close_door", approval=Approval.ASK),
    capability=Capability(
        action="fake.close_door", nature=Nature.CONTAINMENT, barrier=Barrier.STARTED
    ),
    subjects=(instance(),),
    state=StepState.ASKING,
    proposal=PROPOSAL,
    plan_digest=PROPOSAL.digest,
    deadline=NOW + 15 * MINUTE,
)
CLOSED = CallRecord(
    service="doors", operation="Close", parameters={}, at=NOW, request_id="1", outcome=Outcome.OK
)
DONE = ASKED.model_copy(
    update={
        "state": StepState.PROVEN,
        "standing": True,
        "receipts": (Receipt(plan_digest=PROPOSAL.plans[0].digest, at=NOW, calls=(CLOSED,)),),
    }
)


def rule(roster: Roster = TEAM, **members: object) -> Policy:
    """Return a policy with one rule for everything."""
    return policy(roster=roster, approvals=({"id": "r", "excludes": (), **members},))


def case(
    *steps: StepRecord, under: Policy | None = None, now: datetime = NOW, **members: Any
) -> Case:
    about = {"incident": "incident/x", "run": "r", "requester": "", "spent": (), **members}
    return Case(policy=under or rule(), steps=steps or (ASKED,), now=now, **about)


def word(kind: type[Any] = Decision, by: str = "ann", **members: object) -> Any:
    values: dict[str, object] = {
        "incident": "incident/x", "run": "r", "by": by, "reason": "seen it", "at": NOW,
        "expires_at": NOW + timedelta(hours=2), "nonce": f"{by}{len(members)}", **members,
    }  # fmt: skip
    if kind in (Decision, Ratification):
        about = {"step": "door", "plan_digest": PROPOSAL.digest, "answer": YES}
        values = {**about, **values}
    return kind.model_validate(values)


def vote(by: str = "ann", answer: Answer = YES, **members: object) -> Signed[Decision]:
    said: Signed[Decision] = signed(word(Decision, by, answer=answer, **members))
    return said


def ruling(said: Signed[Any], *steps: StepRecord, **about: Any) -> Ruling:
    return judge(said, case(*steps, **about)).ruling


def after(record: StepRecord, under: Policy, *said: Signed[Any]) -> StepRecord:
    """Return a step after votes, as an incident keeps them."""
    for one in said:
        found, who = judge(one, case(record, under=under))
        kept = Vote(
            said=one,
            ruling=found,
            received_at=NOW,
            means=one.attestation.means,
            hardware=who is not None and who.hardware,
        )
        record = record.model_copy(update={"votes": (*record.votes, kept)})
    return record


def rulings(record: StepRecord) -> list[bool]:
    return [one.ruling.accepted for one in record.votes]


def test_responder_may_decide_on_the_plan_that_is_asked_for() -> None:
    assert ruling(vote()) == Ruling(accepted=True)


# Which incident, which run, which step, which plan


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"incident": "incident/y"}, "it is about incident/y run r, this is run r"),
        ({"run": "r2"}, "it is about incident/x run r2, this is run r"),
        ({"step": "window"}, "this incident has no step window"),
        (
            {"plan_digest": "b" * 64},
            f"the plan has changed: it is {PROPOSAL.digest} now; read it and decide again",
        ),
        ({"reason": " \n"}, "it needs a reason"),
        ({"by": "mallory"}, "mallory is not a responder under this incident's policy"),
    ],
)
def test_word_about_something_else_is_refused(members: dict[str, Any], why: str) -> None:
    refused = ruling(vote(**members))

    assert (refused.accepted, refused.reason) == (False, why)


def test_step_that_is_not_waiting_takes_no_votes() -> None:
    for state in set(StepState) - {StepState.ASKING}:
        record = ASKED.model_copy(update={"state": state})

        assert ruling(vote(), record).reason == (
            f"step door is not waiting for a decision, it is {state}"
        )


def test_vote_at_the_deadline_is_too_late() -> None:
    assert ruling(vote(), now=NOW + 15 * MINUTE - timedelta(microseconds=1)).accepted
    late = ruling(vote(), now=NOW + 15 * MINUTE)

    assert (late.accepted, late.reason) == (False, "the deadline was 2026-01-01 12:15:00Z")


def test_nobody_may_decide_without_responders() -> None:
    assert "not a responder" in ruling(vote(), under=Policy()).reason


def test_nonce_of_a_word_that_was_heard_is_refused_in_another_word() -> None:
    heard = (Heard(by="ann", nonce="1", until=NOW + MINUTE),)

    refused = ruling(vote(nonce="1", reason="another"), spent=heard)
    assert refused.reason == "it was said already: a word counts once"
    assert ruling(vote("ben", nonce="1"), spent=heard).accepted


def test_speaker_is_known_though_the_vote_is_refused_for_the_matter() -> None:
    theirs = judge(vote(step="window"), case())
    forged = judge(signed(word(step="window"), "mallory"), case())

    assert theirs.speaker is not None
    assert forged.speaker is None


# Quorum, people, groups and seats


def test_quorum_wants_different_people() -> None:
    under = rule(quorum=2)
    first = after(ASKED, under, vote())

    assert first.votes[0].ruling == Ruling(accepted=True, needed=1)
    again = ruling(vote(nonce="2"), first, under=under)
    assert (again.accepted, again.reason) == (False, "ann has voted so already")
    assert ruling(vote("ben"), first, under=under) == Ruling(accepted=True)


def test_two_keys_of_one_person_are_one_person() -> None:
    keys = (key_of("ann"), key_of("ann's other"))
    team = roster(ann=responder("ann", keys=keys), ben=responder("ben"))
    under = rule(team, quorum=2)

    twice = after(ASKED, under, vote(), signed(word(nonce="2"), "ann's other"))

    assert rulings(twice) == [True, False]
    assert counted(twice, under, "").needed == 1


def test_two_means_of_one_person_are_one_person() -> None:
    under = rule(quorum=2, accepts=("ssh", "sts", "chat"))
    record = after(ASKED, under, vote())

    assert ruling(relayed(word(nonce="2")), record, under=under).reason == (
        "ann has voted so already"
    )
    by_aws = judge(of_aws(word(nonce="3")), case(record, under=under), Voucher(identity=ARN))
    assert by_aws.ruling.reason == "ann has voted so already"


def test_only_members_of_the_groups_decide() -> None:
    assert ruling(vote("cat"), under=rule(groups=("security",))).reason == (
        "cat is in none of the groups that decide on this: security"
    )
    assert ruling(vote("ann"), under=rule(groups=("security",))).accepted


def test_answer_says_which_seats_are_empty() -> None:
    under = rule(quorum=2, seats=("leads", OWNER))

    assert ruling(vote(), under=under) == Ruling(accepted=True, needed=2, seats=("leads", OWNER))
    two = after(ASKED, under, vote(), vote("ben"))
    assert ruling(vote("cat"), two, under=under) == Ruling(accepted=True)


def test_owner_is_found_by_the_tag_that_the_policy_names() -> None:
    seat = {"groups": ("security",), "seats": (OWNER,)}

    assert ruling(vote("cat"), under=rule(**seat)).accepted
    other = policy(roster=TEAM, approvals=({"id": "r", "excludes": (), **seat},),
                   owner_tags=("team",))  # fmt: skip
    assert not ruling(vote("cat"), under=other).accepted


# Those with an interest of their own


def test_requester_does_not_decide_by_any_of_their_keys_and_means() -> None:
    keys = (key_of("ann"), key_of("ann's other"))
    people = {**TEAM.people, "ann": responder("ann", arns=(ARN,), slack="U1", keys=keys)}
    team = TEAM.model_copy(update={"people": people})
    under = rule(team, excludes=("requester",), accepts=("ssh", "sts", "chat"))
    about = case(under=under, requester="ann")

    for said, voucher in (
        (vote(), None),
        (signed(word(), "ann's other"), None),
        (relayed(word()), None),
        (of_aws(word()), Voucher(identity=ARN)),
    ):
        refused, who = judge(said, about, voucher)
        assert who is not None
        assert refused.reason == "ann has asked for this, so somebody else has to decide"
    assert judge(vote("ben"), about).ruling.accepted


def test_who_asked_for_a_step_later_does_not_decide_on_it_either() -> None:
    under = rule(excludes=("requester",))
    bens = ASKED.model_copy(update={"requester": "ben"})

    for by, accepted in (("ann", False), ("ben", False), ("cat", True)):
        assert ruling(vote(by), bens, under=under, requester="ann").accepted is accepted


def test_who_was_on_call_does_not_decide() -> None:
    team = TEAM.model_copy(update={"on_call": ("ann",)})

    assert "was on call" in ruling(vote(), under=rule(team, excludes=("on_call",))).reason
    assert ruling(vote(), under=rule(team)).accepted


def test_rule_that_says_nothing_leaves_both_out() -> None:
    assert Rule(id="r").excludes == ("requester", "on_call")
    assert not ruling(vote(), under=policy(roster=TEAM, approvals=()), requester="ann").accepted


# Means


def relayed(said: Decision, user: str = "U1") -> Signed[Decision]:
    content = Relayed(word=said, gateway="chat", platform="slack", user=user)
    signature = sshsig.sign(private_key("the gateway"), signable(content))
    relay = ChatRelay(gateway="chat", platform="slack", user=user, signature=signature)
    return signed_by(said, relay)


def of_aws(said: Any) -> Signed[Any]:
    return signed_by(said, StsRequest(url="https://sts.us-east-1.amazonaws.com/", headers={}))


def test_means_that_the_rule_does_not_accept_do_not_count() -> None:
    assert ruling(relayed(word())).reason == "chat does not count for this, only ssh"
    assert ruling(relayed(word()), under=rule(accepts=("chat",))).accepted
    assert ruling(vote(), under=rule(accepts=("chat", "sts"))).reason == (
        "ssh does not count for this, only chat, sts"
    )


def test_step_up_wants_a_hardware_key_that_was_touched() -> None:
    hard = security_key()
    public = sshsig.verify(hard.sign(b""), b"").public
    team = roster(ann=responder("ann", keys=(key_of("ann"), Key(public=public))))
    under = rule(team, step_up=True)
    message = signable(word())

    def by_hardware(flags: int) -> Signed[Any]:
        return signed_by(word(), SshSignature(signature=hard.sign(message, flags)))

    wanted = "this wants a signature by a hardware key that was touched for it"
    assert ruling(vote(), under=under).reason == wanted
    assert ruling(by_hardware(0), under=under).reason == wanted
    assert ruling(by_hardware(1), under=under).accepted


def test_step_up_is_not_met_by_other_means() -> None:
    under = rule(step_up=True, accepts=("ssh", "chat"))

    assert "hardware key" in ruling(relayed(word()), under=under).reason


# Denials, and minds that change


def test_denial_is_counted_as_one() -> None:
    two = rule(denials=2)
    once = after(ASKED, two, vote(answer=NO))

    assert not counted(once, two, "").ended
    assert counted(after(once, two, vote("ben", NO)), two, "").ended
    assert counted(after(ASKED, rule(), vote(answer=NO)), rule(), "").ended


def test_mind_can_be_changed_before_the_quorum_and_both_votes_are_kept() -> None:
    under = rule(quorum=2, denials=2)
    changed = after(ASKED, under, vote(), vote(answer=NO, nonce="2"))

    assert rulings(changed) == [True, True]
    assert changed.votes[1].ruling == Ruling(accepted=True, reason="replaces approve", needed=2)
    assert counted(changed, under, "").denied == ("ann",)
    back = ruling(vote(nonce="3"), changed, under=under)
    assert back == Ruling(accepted=True, reason="replaces deny", needed=1)


def test_mind_that_changes_without_end_is_not_listened_to() -> None:
    under = rule(quorum=2, denials=2)
    minds = [vote(answer=(YES, NO)[n % 2], nonce=f"n{n}") for n in range(MOST_VOTES + 4)]

    wavering = after(ASKED, under, *minds)

    assert rulings(wavering) == [True] * MOST_VOTES + [False] * 4
    assert wavering.votes[-2].ruling.reason == f"ann has voted {MOST_VOTES} times on this plan"
    assert ruling(vote("ben"), wavering, under=under).accepted


def test_vote_on_an_earlier_plan_is_no_vote_on_this_one() -> None:
    under = rule(quorum=2)
    voted = after(ASKED, under, vote())
    anew = voted.model_copy(update={"plan_digest": "c" * 64})

    assert counted(anew, under, "").approved == ()
    assert ruling(vote(plan_digest="c" * 64, nonce="2"), anew, under=under) == Ruling(
        accepted=True, needed=1
    )


# Escalation


def test_escalation_lets_further_groups_decide() -> None:
    under = rule(groups=("platform",), escalation=(Tier(to=("leads",), within="1h"),))
    escalated = ASKED.model_copy(update={"tier": 1})

    assert not ruling(vote("ben"), under=under).accepted
    assert ruling(vote("ben"), escalated, under=under).accepted
    assert ruling(vote("cat"), escalated, under=under).accepted
    assert not ruling(vote("ann"), escalated, under=under).accepted


# Which rule


def test_first_rule_that_fits_counts() -> None:
    under = policy(
        roster=TEAM,
        accounts={"123456789012": Account.model_validate({"class": "production"})},
        approvals=(
            Rule(id="elsewhere", classes=("sandbox",)),
            Rule(id="other effect", effects=("stop_*",)),
            Rule(id="doors", effects=("close_*",), classes=("production",)),
            Rule(id="rest"),
        ),
    )

    assert rule_for(ASKED, under).id == "doors"
    nothing = ASKED.model_copy(update={"subjects": ()})
    assert rule_for(nothing, under).id == "rest"
    assert rule_for(ASKED, Policy()).id == "default"


@pytest.mark.parametrize("places", [("1", "2"), ("2", "1")])
def test_step_in_two_accounts_comes_under_the_more_demanding_rule(places: tuple[str, ...]) -> None:
    here = instance()
    subjects: tuple[Resource, ...] = tuple(
        here.model_copy(update={"account": place}) for place in places
    )
    under = policy(
        roster=TEAM,
        accounts={
            "1": Account.model_validate({"class": "sandbox"}),
            "2": Account.model_validate({"class": "production"}),
        },
        approvals=(
            Rule(id="one", classes=("sandbox",)),
            Rule(id="two", classes=("production",), quorum=2),
        ),
    )

    assert rule_for(ASKED.model_copy(update={"subjects": subjects}), under).id == "two"


@pytest.mark.parametrize(
    "more",
    [
        {"quorum": 2},
        {"seats": (OWNER, "leads")},
        {"seats": ("leads",)},
        {"step_up": True},
    ],
    ids=str,
)
def test_what_asks_for_more_is_more_demanding_than_standing_authority(more: Any) -> None:
    low = {"id": "low", "classes": ("sandbox",), "standing": {"severities": ["critical"]}}
    subjects = [instance().model_copy(update={"account": place}) for place in ("1", "2")]
    under = policy(
        roster=TEAM,
        accounts={"1": Account.model_validate({"class": "sandbox"})},
        approvals=(low, {"id": "high", **more}),
    )

    assert rule_for(ASKED.model_copy(update={"subjects": tuple(subjects)}), under).id == "high"


# Ratification


def ratified(by: str = "ann", answer: Answer = YES, **members: object) -> Signed[Ratification]:
    said: Signed[Ratification] = signed(word(Ratification, by, answer=answer, **members))
    return said


def test_what_was_done_under_standing_authority_waits_for_people() -> None:
    assert unratified(DONE)
    assert waits(DONE)
    for update in ({"standing": False}, {"ratified": True}, {"ratified": False}, {"receipts": ()}):
        assert not unratified(DONE.model_copy(update=update))


def test_ratification_follows_the_rule_of_the_step() -> None:
    under = rule(quorum=2, groups=("security",), excludes=("requester",))

    first = ruling(ratified(), DONE, under=under)
    assert first == Ruling(accepted=True, needed=1)
    assert not ruling(ratified("cat"), DONE, under=under).accepted
    assert "asked for this" in ruling(ratified(), DONE, under=under, requester="ann").reason
    both = after(DONE, under, ratified(), ratified("ben"))
    assert counted(both, under, "").reached


def test_ratification_can_be_refused_to_what_was_done() -> None:
    said = after(DONE, rule(), ratified(answer=NO))

    assert rulings(said) == [True]
    assert counted(said, rule(), "").ended


def test_decision_is_no_ratification_and_the_other_way_round() -> None:
    assert ruling(vote(), DONE).reason == ("step door is not waiting for a decision, it is proven")
    assert ruling(ratified()).reason == "step door has nothing to ratify"
    decided = after(ASKED, rule(quorum=2), vote())
    standing = DONE.model_copy(update={"votes": decided.votes})
    assert counted(standing, rule(quorum=1), "").approved == ()


def test_what_was_ratified_or_disowned_takes_no_further_votes() -> None:
    for said in (True, False):
        settled = DONE.model_copy(update={"ratified": said})
        assert ruling(ratified(), settled).reason == "step door has nothing to ratify"


def test_incident_with_something_unratified_cannot_be_closed() -> None:
    over = signed(word(Close))

    assert may_close(over, case(DONE)).reason == (
        "door was done under standing authority: `firedoor ratify` it first"
    )
    for said in (True, False):
        assert may_close(over, case(DONE.model_copy(update={"ratified": said}))).accepted


def test_standing_authority_is_for_named_severities() -> None:
    standing = StandingAuthority(severities=(Severity.CRITICAL,))

    assert Rule(id="r", standing=standing).standing == standing
    with pytest.raises(ValueError, match="severities"):
        StandingAuthority(severities=())


# Release and close

MAY: dict[type[Any], Any] = {Release: may_release, Close: may_close}
HELD = ASKED.model_copy(update={"state": StepState.PROVEN, "leases": ("containment/a",)})


def test_release_waits_only_for_the_steps_that_it_is_about() -> None:
    busy = HELD.model_copy(update={"key": "other", "state": StepState.APPLYING})
    one, everything = signed(word(Release, steps=("door",))), signed(word(Release))

    assert may_release(one, case(HELD, busy)).accepted
    assert may_release(everything, case(HELD, busy)).reason == (
        "other is being applied; release it when that is done"
    )
    assert [step.key for step in chosen(one.word, (HELD, busy))] == ["door"]
    assert [step.key for step in chosen(everything.word, (HELD, busy))] == ["door", "other"]


def test_release_of_what_is_not_there_or_not_held_is_refused() -> None:
    assert may_release(signed(word(Release, steps=("x",))), case(HELD)).reason == (
        "this incident has no step x"
    )
    assert may_release(signed(word(Release)), case(ASKED)).reason == "nothing of this is held"


def test_incident_that_holds_or_waits_cannot_be_closed() -> None:
    over = signed(word(Close))

    assert "release them first" in may_close(over, case(HELD)).reason
    assert may_close(over, case(ASKED)).reason == "door are not finished"
    assert may_close(over, case(ASKED.model_copy(update={"state": StepState.DENIED}))).accepted


@pytest.mark.parametrize("kind", [Release, Close])
def test_only_a_responder_releases_and_closes_and_only_this_run(kind: type[Any]) -> None:
    may = MAY[kind]
    about = case(HELD if kind is Release else HELD.model_copy(update={"leases": ()}))
    refused: Sequence[Signed[Any]] = (
        signed(word(kind, by="mallory")),
        signed(word(kind), "mallory"),
        signed(word(kind, incident="incident/y")),
        signed(word(kind, run="r2")),
        signed(word(kind, reason="")),
        signed(word(kind, at=NOW - timedelta(days=2), expires_at=NOW - timedelta(days=1))),
        signed_by(word(kind), relayed(word()).attestation),
        signed_by(word(kind), signed(word()).attestation),
    )

    assert may(signed(word(kind)), about).accepted
    assert [may(said, about).accepted for said in refused] == [False] * len(refused)


@pytest.mark.parametrize("kind", [Release, Close])
def test_what_undoes_or_ends_takes_only_means_that_some_rule_accepts(kind: type[Any]) -> None:
    may = MAY[kind]
    record = HELD if kind is Release else HELD.model_copy(update={"leases": ()})
    said, voucher = of_aws(word(kind)), Voucher(identity=ARN)

    assert may(said, case(record), voucher).reason == "sts does not count for this"
    assert may(said, case(record, under=rule(accepts=("ssh", "sts"))), voucher).accepted


def test_electorate_of_a_step_knows_its_tier_owners_and_who_asked() -> None:
    bens = ASKED.model_copy(update={"tier": 1, "requester": "ben"})

    found = electorate(bens, rule(), "ann")

    assert (found.tier, found.owners, found.requesters) == (1, ("cat",), ("ann", "ben"))


def test_ruling_is_the_same_whenever_it_is_made_again() -> None:
    said, about = vote(), case(under=rule(quorum=2, seats=("leads",)))

    assert len({digest(judge(said, about).ruling) for _ in range(3)}) == 1
