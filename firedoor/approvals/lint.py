"""What is wrong with rules and responders before anybody needs them. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from firedoor.model.approval import OWNER, Party, Rule
from firedoor.model.policy import DEFAULT_RULE, Policy
from firedoor.model.responder import Key, Responder, Roster
from firedoor.model.word import Means

SOON = timedelta(days=30)
"""How long before its end a key is said to expire."""

EVERYTHING = "*"


def problems(policy: Policy, now: datetime) -> tuple[str, ...]:
    """Return what keeps rules from being satisfied, and what is amiss with keys, one line each."""
    if not policy.roster.people:
        return ("nobody may decide: `firedoor responders add` adds people",)
    rules, said = list[Rule](), list[str]()
    whole: Rule | None = None
    for rule in (*policy.approvals, DEFAULT_RULE):
        if whole is None:
            rules.append(rule)
            whole = rule if _covers_everything(rule) else None
        elif rule is not DEFAULT_RULE:
            said.append(f"rule {rule.id}: it never counts, as {whole.id} before it covers all")
    of_rules = (f"rule {rule.id}: {what}" for rule in rules for what in _rule(rule, policy, now))
    return (*_people(policy.roster, rules, now), *of_rules, *said)


def counts(key: Key, now: datetime) -> bool:
    """Tell whether what a key signs now would count."""
    begun = key.valid_after is None or key.valid_after <= now
    return begun and (key.valid_before is None or now < key.valid_before)


def _covers_everything(rule: Rule) -> bool:
    return EVERYTHING in rule.effects and EVERYTHING in rule.runbooks and not rule.classes


def _people(roster: Roster, rules: Iterable[Rule], now: datetime) -> Iterator[str]:
    """Yield what is amiss with people and gateways, whatever the rule."""
    accepted = {means for rule in rules for means in rule.accepts}
    known = {one.issuer for one in roster.issuers}
    for name, person in roster.people.items():
        yield from _keys(name, person.keys, now)
        if not person.keys and not any(CAN[means](person, roster, now) for means in accepted):
            yield f"{name} has no key, nor anything else that a rule accepts"
        for one in person.oidc:
            if one.issuer not in known:
                yield f"{name} is known to {one.issuer}, which is none of `issuers`"
    for name, gateway in roster.gateways.items():
        yield from _keys(name, gateway.keys, now)
        if not gateway.keys:
            yield f"gateway {name} has no key"


def _keys(whose: str, keys: Iterable[Key], now: datetime) -> Iterator[str]:
    for key in keys:
        until = key.valid_before
        named = f"{key.fingerprint} of {whose}"
        if until is not None and until <= now:
            yield f"{named} expired on {until:%Y-%m-%d}: take its line out, or add another key"
        elif until is not None and until <= now + SOON:
            yield f"{named} expires on {until:%Y-%m-%d}: add another key"
        elif key.valid_after is not None and key.valid_after > now:
            yield f"{named} does not count before {key.valid_after:%Y-%m-%d}"


def _rule(rule: Rule, policy: Policy, now: datetime) -> Iterator[str]:
    """Yield why a rule cannot be satisfied as it was meant."""
    roster = policy.roster
    yield from _empty(rule, roster)
    asked = roster.members(rule.electorate(len(rule.escalation)))
    yield from _means(rule, asked, roster, now)
    able = [name for name in asked if _able(rule, roster.people[name], roster, now)]
    away = set(roster.on_call) if Party.ON_CALL in rule.excludes else set[str]()
    yield from _quorum(rule, [name for name in able if name not in away], roster, away & {*able})


def _empty(rule: Rule, roster: Roster) -> Iterator[str]:
    """Yield the groups that a rule names and nobody is in."""
    there = {group for person in roster.people.values() for group in person.groups}
    tiers = (group for tier in rule.escalation for group in tier.to)
    for member, groups in (("groups", rule.groups), ("seats", rule.seats), ("escalation", tiers)):
        for group in dict.fromkeys(groups):
            if group not in there and (member, group) != ("seats", OWNER):
                yield f"`{member}` names {group}, and nobody is in that group"


def _means(rule: Rule, asked: Sequence[str], roster: Roster, now: datetime) -> Iterator[str]:
    """Yield the means that a rule counts on, and that nobody has."""
    people = [roster.people[name] for name in asked]
    if rule.step_up:
        if Means.SSH not in rule.accepts:
            yield "`step_up` wants hardware keys, and `accepts` leaves out ssh"
        elif people and not any(_by_hardware(person, now) for person in people):
            yield "`step_up`, and nobody who may decide has a hardware key that counts"
        return
    if Means.CHAT in rule.accepts and not _has_gateway(roster, now):
        yield "`accepts` chat, and no gateway has a key that counts"
    if Means.OIDC in rule.accepts and not roster.issuers:
        yield "`accepts` oidc, and there is no issuer"
    for means in rule.accepts:
        if people and not any(MAPPED[means](person, roster, now) for person in people):
            yield f"`accepts` {means}, and nobody who may decide has {NEEDED[means]}"


def _quorum(rule: Rule, able: Sequence[str], roster: Roster, away: set[str]) -> Iterator[str]:
    """Yield why not enough people can approve; an owner can be anybody, and so is not counted."""
    need = max(rule.quorum, len(rule.seats)) - rule.seats.count(OWNER)
    names = ", ".join(able) or "nobody"
    if len(able) < need:
        on_call = f"; on call: {', '.join(sorted(away))}" if away else ""
        yield f"{need} have to approve, and those who can are: {names}{on_call}"
    elif Party.REQUESTER in rule.excludes and need and len(able) == need:
        yield f"{need} have to approve, which is everybody who can: not if {_or(able)} asked for it"
    elif empty := _unfilled(rule, able, roster):
        yield f"not everybody can have a seat of their own: {empty} stays empty"


def _unfilled(rule: Rule, able: Sequence[str], roster: Roster) -> str:
    """Return a seat that stays empty when each person takes one at most, or nothing."""
    taken = dict[str, str]()  # person to seat

    def seat_somebody(seat: str, tried: set[str]) -> bool:
        for name in able:
            if name not in tried and seat in roster.people[name].groups:
                tried.add(name)
                if name not in taken or seat_somebody(taken[name], tried):
                    taken[name] = seat
                    return True
        return False

    groups = (seat for seat in rule.seats if seat != OWNER)
    return next((seat for seat in groups if not seat_somebody(seat, set())), "")


def _able(rule: Rule, person: Responder, roster: Roster, now: datetime) -> bool:
    """Tell whether anybody would believe that a word under a rule is a person's."""
    if rule.step_up:
        return Means.SSH in rule.accepts and _by_hardware(person, now)
    return any(CAN[means](person, roster, now) for means in rule.accepts)


def _by_key(person: Responder, _: Roster, now: datetime) -> bool:
    return any(counts(key, now) for key in person.keys)


def _by_hardware(person: Responder, now: datetime) -> bool:
    return any(key.is_hardware and counts(key, now) for key in person.keys)


def _by_issuer(person: Responder, roster: Roster, _: datetime) -> bool:
    known = {one.issuer for one in roster.issuers}
    return any(one.issuer in known for one in person.oidc)


def _by_arn(person: Responder, _: Roster, __: datetime) -> bool:
    return bool(person.arns)


def _in_chat(person: Responder, _: Roster, __: datetime) -> bool:
    return bool(person.slack or person.teams)


def _by_chat(person: Responder, roster: Roster, now: datetime) -> bool:
    return _in_chat(person, roster, now) and _has_gateway(roster, now)


def _has_gateway(roster: Roster, now: datetime) -> bool:
    return any(counts(key, now) for one in roster.gateways.values() for key in one.keys)


def _or(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)


Proof = Callable[[Responder, Roster, datetime], bool]

CAN: Mapping[Means, Proof] = {
    Means.SSH: _by_key,
    Means.OIDC: _by_issuer,
    Means.STS: _by_arn,
    Means.CHAT: _by_chat,
}
"""Whether a person can prove by a means that a word is theirs."""

MAPPED: Mapping[Means, Proof] = {**CAN, Means.CHAT: _in_chat}
"""Whether a person has what a means needs of them."""

NEEDED: Mapping[Means, str] = {
    Means.SSH: "a key that counts",
    Means.OIDC: "an `oidc` subject of one of `issuers`",
    Means.STS: "an ARN in `arns`",
    Means.CHAT: "an id in `slack` or `teams`",
}
