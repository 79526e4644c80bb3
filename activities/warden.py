"""What is asked of the warden, from activities and from the command line."""

import asyncio
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from activities.turns import TASK_TIMEOUT, at_rest
from firedoor.model.base import Model
from firedoor.model.decision import Ruling
from firedoor.model.policy import Limits
from firedoor.model.warden import (
    Admission,
    Change,
    Changes,
    Instructed,
    Rulings,
    warden_id,
)
from firedoor.model.word import Instruction, Signed

T = TypeVar("T")


class Asking:
    """Brings the changes of this process to the warden, those that come meanwhile together.

    One workflow answers for all incidents, and takes only few messages at a time.
    """

    def __init__(self, client: Client, queue: str) -> None:
        self._client = client
        self._queue = queue
        self._asked: list[tuple[Change, asyncio.Future[Ruling]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, change: Change) -> Ruling:
        """Return the warden's ruling on a change."""
        answer: asyncio.Future[Ruling] = asyncio.get_running_loop().create_future()
        self._asked.append((change, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            changes = Changes(changes=tuple(change for change, _ in asked))
            answers = [answer for _, answer in asked]
            try:
                told = await _tell(self._client, self._queue, "admit", changes, Rulings)
            except Exception as error:  # noqa: BLE001 - each of those who asked has to hear of it
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for answer, ruling in zip(answers, told.rulings, strict=True):
                if not answer.done():
                    answer.set_result(ruling)


_asking: WeakKeyDictionary[Client, dict[str, Asking]] = WeakKeyDictionary()


async def admit(client: Client, queue: str, change: Change) -> Ruling:
    """Ask whether a change may be made now."""
    mine = _asking.setdefault(client, {})
    if queue not in mine:
        mine[queue] = Asking(client, queue)
    return await mine[queue].ask(change)


async def withdraw(client: Client, queue: str, lease: str, incident: str) -> None:
    """Tell that a containment that was admitted was not made after all."""
    change = Change(incident=incident, digest="", lease=lease, withdraws=True, limits=Limits())
    await admit(client, queue, change)


async def instruct(client: Client, queue: str, said: Signed[Instruction]) -> Instructed:
    """Bring a person's word: that every change is to stop, or that they may go on."""
    return await _tell(client, queue, "instruct", said, Instructed)


async def _tell(client: Client, queue: str, update: str, message: Model, result: type[T]) -> T:
    """Send the warden a message; the first one starts it."""
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "Warden",
        Admission(),
        id=warden_id(queue),
        task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        task_timeout=TASK_TIMEOUT,
        static_summary="Counts what is contained, and pauses all changes",
    )
    await at_rest(client.get_workflow_handle(warden_id(queue)))
    answer: T = await client.execute_update_with_start_workflow(
        update, message, start_workflow_operation=start, result_type=result
    )
    return answer
