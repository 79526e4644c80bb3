"""One isolation: whom it is about, and what is read for it, each thing once."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from threading import Lock
from typing import Any, TypeVar, cast

from activities.aws import _network, _reading
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import Target

S = TypeVar("S")
T = TypeVar("T")

Address = IPv4Address | IPv6Address


class Case:
    """The target of an isolation as it is seen now.

    Its parts look at the same things side by side: whoever asks first reads, the others wait for
    that answer. A case is thus one look; the next look is another case.
    """

    def __init__(
        self,
        aws: Aws,
        target: Target,
        addresses: Sequence[Address] = (),
        *,
        untracks: bool = True,
    ) -> None:
        self.aws = aws
        self.target = target
        self.id = target.subject.id
        self.addresses = tuple(addresses)
        self.untracks = untracks
        self._lock = Lock()
        self._answers: dict[Hashable, Future[Any]] = {}

    @property
    def instance(self) -> dict[str, Any] | None:
        """The instance as it is described; None if it does not exist."""
        return self.once("instance", partial(_reading.instance, self.aws, self.id))

    @property
    def interfaces(self) -> list[dict[str, Any]]:
        """The network interfaces that are attached to it, in the order of their ids."""
        return self.once("interfaces", partial(_network.interfaces, self.aws, self.id))

    @property
    def tables(self) -> list[dict[str, Any]]:
        """The route tables of its VPCs."""
        vpcs = {interface["VpcId"] for interface in self.interfaces}
        name = "DescribeRouteTables"
        return self.once(name, partial(_network.by_filter, self.aws, name, "vpc-id", vpcs))

    def named(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Return interfaces by id, those too that were detached; what does not exist is left out.

        A detached interface must not stay locked.
        """
        wanted = set(ids)
        attached = [i for i in self.interfaces if i["NetworkInterfaceId"] in wanted]
        others = frozenset(wanted - {i["NetworkInterfaceId"] for i in attached})
        if not others:
            return attached
        name = "network-interface-id"
        read = partial(_network.by_filter, self.aws, "DescribeNetworkInterfaces", name, others)
        return [*attached, *self.once(others, read)]

    def once(self, what: Hashable, read: Callable[[], T]) -> T:
        """Read something unless that was done already, and return it or raise its error again."""
        with self._lock:
            answer = self._answers.get(what)
            mine = answer is None
            answer = self._answers.setdefault(what, Future())
        if mine:
            try:
                answer.set_result(read())
            except CloudError as error:
                answer.set_exception(error)
            except BaseException as error:
                answer.set_exception(error)  # or those who wait for it would do so for ever
                raise
        found: T = answer.result()
        return found


def both(aws: Aws, one: Callable[[], S], other: Callable[[], T]) -> tuple[S, T]:
    """Do two things side by side, and return what each gave."""
    first, second = aws.together(cast("Callable[[], Any]", one), cast("Callable[[], Any]", other))
    return first, second
