"""The catalogue of runbooks: read, checked, and asked which one answers a finding."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from ipaddress import ip_address
from itertools import combinations, product
from pathlib import Path, PurePath

from pydantic import ValidationError

from firedoor import document
from firedoor.action import Action
from firedoor.document import Document, Place, Problem, problem, problems, suggestion
from firedoor.errors import BadRunbook
from firedoor.model.action import Nature
from firedoor.model.finding import Cloud, Finding, Kind, Resource
from firedoor.model.runbook import Approval, Runbook, Step, When, exactness, resolve
from firedoor.triage import BY_HAND

PACKAGE = "runbooks"
DEFAULT = "default"
RECORDS = "records"

# A finding that states every fact, to try the parameters of steps on.
SAMPLE = Finding(
    id="sample",
    source="sample",
    type="sample",
    title="sample",
    severity=5,
    cloud=Cloud.AWS,
    account="123456789012",
    region="us-east-1",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    updated_at=datetime(2026, 1, 1, tzinfo=UTC),
    first_seen=datetime(2026, 1, 1, tzinfo=UTC),
    last_seen=datetime(2026, 1, 1, tzinfo=UTC),
    sample=True,
    subject=Resource(
        cloud=Cloud.AWS, account="123456789012", region="us-east-1", kind=Kind.OTHER, id="sample"
    ),
    addresses=(ip_address("198.51.100.7"), ip_address("2001:db8::7")),
    local_addresses=(ip_address("192.0.2.10"),),
    ports=(22,),
    domains=("example.com",),
    access_keys=("AKIAIOSFODNN7EXAMPLE",),
)


# And one that states none: what a finding leaves out is an empty list.
BARE = SAMPLE.model_copy(
    update={"addresses": (), "local_addresses": (), "ports": (), "domains": (), "access_keys": ()}
)


def load(actions: Mapping[str, Action], *directories: Path) -> dict[str, Runbook]:
    """Return the runbooks that come with Firedoor and those of further directories, by id.

    Raises `BadRunbook` with every problem of every file: a runbook that is half right is not used.
    """
    reads = {str(file): _read(text(file), str(file)) for file in files(*directories)}
    found = [p for file, read in reads.items() for p in _problems(read, file, actions)]
    whole = [read for read in reads.values() if not isinstance(read, list)]
    if found := found or _clashes(whole):
        raise _refusal(found)
    return {runbook.id: runbook for _, runbook in whole}


def files(*directories: Path) -> tuple[Path, ...]:
    """Return the files of all runbooks: those of Firedoor itself, and those of further directories.

    A file of a later directory stands for an earlier one of the same name. Raises `BadRunbook` if a
    directory cannot be read.
    """
    shipped = Path(str(resources.files(PACKAGE)))
    named = {file.name: file for place in (shipped, *directories) for file in _files(place)}
    return tuple(named[name] for name in sorted(named))


def text(file: Path) -> str:
    """Return what a file says.

    Raises `BadRunbook` if it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadRunbook(str(file), "", f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRunbook(str(file), f"byte {error.start}", "expected UTF-8") from error


def parse(text: str, name: str) -> Runbook:
    """Return the runbook that a file holds; `name` is that of the file.

    Raises `BadRunbook` with the line, the step and what mends it. What depends on the actions that
    there are is for `lint`.
    """
    read = _read(text, name)
    if isinstance(read, list):
        raise _refusal(read)
    return read[1]


def lint(text: str, name: str, actions: Mapping[str, Action]) -> list[Problem]:
    """Return everything that is wrong with a runbook, by line; nothing if it can be used."""
    return _problems(_read(text, name), name, actions)


def clashes(texts: Mapping[str, str]) -> list[Problem]:
    """Return where two runbooks could answer one finding equally well.

    Texts that hold no runbook are passed over: `lint` says what is wrong with them.
    """
    reads = [_read(text, file) for file, text in texts.items()]
    return _clashes([read for read in reads if not isinstance(read, list)])


def select(finding: Finding, runbooks: Mapping[str, Runbook]) -> Runbook:
    """Return the runbook that matches a finding most exactly, or else the default one."""
    fits = {
        runbook.id: exact
        for runbook in runbooks.values()
        if runbook.when is not None and (exact := runbook.when.matches(finding)) is not None
    }
    return runbooks[max(fits, key=lambda id: (fits[id], id), default=DEFAULT)]


def action_for(step: Step, cloud: Cloud, actions: Mapping[str, Action]) -> str:
    """Return the id of the action that brings a step's effect about in a cloud.

    Where another cloud has it and this one has not, a person does it by hand. Raises `BadRunbook`
    if no cloud has it, nor the platform itself.
    """
    for action in (f"{cloud}.{step.do}", f"{RECORDS}.{step.do}"):
        if action in actions:
            return action
    if meant(step, actions):
        return BY_HAND
    raise BadRunbook("runbook", f"step {step.id}", f"{cloud} has no action {step.do}")


def meant(step: Step, actions: Mapping[str, Action]) -> dict[str, Action]:
    """Return the actions that a step could mean, one a cloud."""
    return {id: action for id, action in actions.items() if id.partition(".")[2] == step.do}


# Rules. Each yields where in the step, what is wrong, and what mends it.

Remarks = Iterator[tuple[Place, str, str]]


def _about_runbook(runbook: Runbook, name: str) -> Remarks:
    file = PurePath(name).stem
    if runbook.id != file:
        yield ("id",), f"the id is {runbook.id}, but the file is {file}", f"write `id: {file}`"
    if runbook.when is None and runbook.id != DEFAULT:
        yield (
            (),
            "`when` is missing",
            "say which findings it answers; only `default` answers all others",
        )
    if runbook.when is not None and runbook.id == DEFAULT:
        yield ("when",), "the default runbook answers whatever no other does", "remove `when`"
    types = runbook.when.types if runbook.when else ()
    for index, pattern in enumerate(types):
        if pattern in types[:index]:
            yield ("when", "types", index), f"`{pattern}` is there twice", "remove one"


def _about_params(
    written: Document, place: Place, step: Step, actions: Mapping[str, Action]
) -> list[Problem]:
    """Try the parameters on every action that the step could mean, with a finding's facts or none.

    What would be refused of some finding has to be refused here, and not in its incident.
    """
    found: list[Problem] = []
    for action in meant(step, actions).values():
        for finding in (SAMPLE, BARE):
            try:
                action.params.model_validate(resolve(step.params, finding))
            except ValidationError as error:
                found += problems(written, action.params, error, (*place, "with"))
                break
    return found


def _about_effect(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:
    step = runbook.steps[index]
    if not meant(step, actions):
        known = {id.partition(".")[2] for id in actions}
        yield ("do",), f"unknown effect {step.do}", suggestion(step.do, known)


def _about_kinds(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:
    step = runbook.steps[index]
    for id, action in meant(step, actions).items():
        if unfit := _kinds(runbook, step) - action.kinds:
            what = ", ".join(sorted(unfit)) if len(unfit) < 4 else "every kind of subject"
            mend = f"say `on:` with one of {', '.join(sorted(action.kinds))}"
            yield ("on" if step.on else "do",), f"{id} cannot act on {what}", mend


def _about_evidence(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:
    """Refuse what could destroy evidence before the evidence step that it wants is under way."""
    step = runbook.steps[index]
    for effect, kinds in _wanted(runbook, step, actions).items():
        if effect in step.waives:
            continue
        takers = [other for other in runbook.steps if other.do == effect]
        # What is needed by way of another step is not waited for when that comes to nothing.
        ahead = [taker for taker in takers if taker.id in step.needs]
        fit = [t for t in ahead if all(_covers(t, step, kind, actions) for kind in kinds)]
        if not ahead:
            first = f"step {takers[0].id}" if takers else f"a step with `do: {effect}`"
            mend = f"put {first} above it and into its `needs`, or waive it: `waives`, `because`"
            yield ("do",), f"{step.do} can destroy what {effect} preserves", mend
        elif not fit:
            said = f"step {ahead[0].id} preserves other subjects than {step.do} acts on"
            mend = f"let both say the same `on:` as {ahead[0].id}"
            yield ("on" if step.on else "do",), said, mend
        elif all(_can_be_passed_by(taker, runbook, actions) for taker in fit):
            said = f"step {fit[0].id} can come to nothing, and then {step.do} does not wait for it"
            mend = f"let step {fit[0].id} say `approval: auto` and need evidence only"
            yield ("needs",), said, mend


def _about_waivers(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:
    step = runbook.steps[index]
    for effect in sorted(set(step.waives) - _wanted(runbook, step, actions).keys()):
        yield ("waives",), f"{step.do} does not want {effect} first", "remove it from `waives`"
    if step.waives and not step.because.strip():
        yield ("waives",), "evidence is waived without a reason", "add `because:`"


def _about_authority(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:
    step = runbook.steps[index]
    contains = any(a.nature is Nature.CONTAINMENT for a in meant(step, actions).values())
    if contains and step.approval is Approval.AUTO and not step.because.strip():
        mend = "add `because:`, or let people decide with `approval: ask`"
        yield ("approval",), "a containment that nobody is asked about, without a reason", mend


def _about_people(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:
    step = runbook.steps[index]
    natures = {action.nature for action in meant(step, actions).values()}
    if natures == {Nature.TASK} and step.approval is Approval.AUTO:
        yield (
            ("approval",),
            "a task is a person's, who signs it off",
            "write `approval: ask`, or leave it out",
        )
    if natures and Nature.CONTAINMENT not in natures and step.term is not None:
        yield ("term",), f"{step.do} holds nothing, so it has no term", "remove `term`"


def _about_repeats(runbook: Runbook, index: int, actions: Mapping[str, Action]) -> Remarks:  # noqa: ARG001
    step = runbook.steps[index]
    for earlier in runbook.steps[:index]:
        if (earlier.do, earlier.on, earlier.params) == (step.do, step.on, step.params):
            yield (
                (),
                f"it does the same as step {earlier.id}",
                "remove one, or change `on` or `with`",
            )


RULES = (
    _about_effect,
    _about_kinds,
    _about_evidence,
    _about_waivers,
    _about_authority,
    _about_people,
    _about_repeats,
)


Whole = tuple[Document, Runbook]
"""A runbook beside the document that it was read from."""


def _read(text: str, name: str) -> Whole | list[Problem]:
    written = document.read(text, name)
    if isinstance(written, Problem):
        return [written]
    try:
        return written, Runbook.model_validate(written.value)
    except ValidationError as error:
        return sorted(problems(written, Runbook, error), key=lambda p: p.line)


def _problems(
    read: Whole | list[Problem], name: str, actions: Mapping[str, Action]
) -> list[Problem]:
    if isinstance(read, list):
        return read
    written, runbook = read
    found = [problem(written, *remark) for remark in _about_runbook(runbook, name)]
    for index, step in enumerate(runbook.steps):
        place: Place = ("steps", index)
        found += _about_params(written, place, step, actions)
        for rule in RULES:
            found += [
                problem(written, (*place, *within), said, mend)
                for within, said, mend in rule(runbook, index, actions)
            ]
    return sorted(found, key=lambda p: p.line)


def _clashes(whole: Iterable[Whole]) -> list[Problem]:
    return [
        problem(
            written,
            ("when", "types", runbook.when.types.index(mine)),
            f"`{mine}` matches as exactly as `{theirs}` of {other.file}",
            "write more of the type out, or let kinds or side tell them apart",
        )
        for (other, earlier), (written, runbook) in combinations(whole, 2)
        if runbook.when and earlier.when and _meet(runbook.when, earlier.when)
        for mine, theirs in product(runbook.when.types, earlier.when.types)
        if exactness(mine) == exactness(theirs) and _overlap(mine, theirs)
    ]


def _refusal(found: list[Problem]) -> BadRunbook:
    """Return the error of the first problem, with the others as its notes."""
    first, *others = found
    where = f"line {first.line}, step {first.step}" if first.step else f"line {first.line}"
    error = BadRunbook(first.file, where, f"{first.problem}: {first.mend}")
    for other in others:
        error.add_note(str(other))
    return error


def _kinds(runbook: Runbook, step: Step) -> frozenset[Kind]:
    """Return what the step can come to act on."""
    if step.on is not None:
        return frozenset({step.on})
    return frozenset(runbook.when.kinds if runbook.when and runbook.when.kinds else Kind)


def _wanted(
    runbook: Runbook, step: Step, actions: Mapping[str, Action]
) -> dict[str, frozenset[Kind]]:
    """Return the evidence that must come before a step, each with the kinds that it must be of."""
    wanted: dict[str, frozenset[Kind]] = {}
    for action in meant(step, actions).values():
        for kind in _kinds(runbook, step) & action.evidence_first.keys():
            for effect in action.evidence_first[kind]:
                wanted[effect] = wanted.get(effect, frozenset()) | {kind}
    return dict(sorted(wanted.items()))


def _covers(evidence: Step, step: Step, kind: Kind, actions: Mapping[str, Action]) -> bool:
    """Tell whether evidence is taken of everything of a kind that a step acts on.

    Without `on` only the first subject is meant, so it does not cover all of a kind. What is no
    subject of the evidence itself, as a workload, is preserved with what it runs on.
    """
    if any(kind in action.kinds for action in meant(evidence, actions).values()):
        return evidence.on is kind or (evidence.on is None and step.on is None)
    return evidence.on is not None


def _can_be_passed_by(evidence: Step, runbook: Runbook, actions: Mapping[str, Action]) -> bool:
    """Tell whether evidence can be left out: where it is denied, or skipped with what it needs."""
    steps = {other.id: other for other in runbook.steps}
    return evidence.approval is Approval.ASK or any(
        action.nature is not Nature.EVIDENCE
        for need in evidence.needs
        for action in meant(steps[need], actions).values()
    )


def _meet(one: When, other: When) -> bool:
    """Tell whether two runbooks can concern one subject; at the top, severities always overlap."""
    kinds = not one.kinds or not other.kinds or bool(set(one.kinds) & set(other.kinds))
    sides = one.side is None or other.side is None or one.side is other.side
    return kinds and sides


def _overlap(one: str, other: str) -> bool:
    """Tell whether some text fits both patterns."""
    # meets[j]: the rest of one from i on and the rest of the other from j on can be the same text.
    meets = [False] * len(other) + [True]
    for j in reversed(range(len(other))):
        meets[j] = other[j] == "*" and meets[j + 1]
    for mine in reversed(one):
        after, meets = meets, [mine == "*" and meets[-1]] * (len(other) + 1)
        for j in reversed(range(len(other))):
            if "*" in (mine, other[j]):
                meets[j] = after[j] or meets[j + 1]
            else:
                meets[j] = mine == other[j] and after[j + 1]
    return meets[0]


def _files(directory: Path) -> list[Path]:
    try:
        found = sorted(directory.iterdir())
    except OSError as error:
        expected = f"expected a directory of runbooks: {error.strerror}"
        raise BadRunbook(str(directory), "", expected) from error
    if misnamed := [file for file in found if file.suffix == ".yml"]:
        raise BadRunbook(str(misnamed[0]), "", "expected the ending .yaml")
    return [file for file in found if file.suffix == ".yaml"]
