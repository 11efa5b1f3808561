"""What connects the processes: messages that are late, lost,
doubled or overtaken; Ray calls and gRPC on top.

A lost request and a lost answer look the same to the caller: an error soon, or nothing until its
patience ends.
"""

from __future__ import annotations

import asyncio
import functools
import pickle
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Protocol

import grpc
from ray.exceptions import RayActorError, RayTaskError

from actors.calls.status import status_of
from actors.errors import ConfigError, EchoRankError
from tests.simulation.simulated import blocking
from tests.simulation.simulated.loop import PROCESS, Process, VirtualLoop

DELAY_S = 0.002  # usual, at most
LATE_S = 0.3  # while the network is bad, at most
NOTICE_S = 0.2  # until a broken connection is noticed, at most

NOTICED = 0.7  # of what is lost; for the rest the caller waits until its patience ends

EXPECTED = (EchoRankError, RayTaskError, grpc.aio.AioRpcError)
Work = Callable[[], Awaitable[Any]]
Build = Callable[[], Awaitable[Any]]


class Unreachable(Exception):
    """The connection broke: whether the callee did it is unknown."""


class Network:
    """Delivers between processes; `names` leads to the newest incarnation of each."""

    def __init__(
        self,
        loop: VirtualLoop,
        world: Process,
        say: Callable[[object, str], None],
        on_defect: Callable[[str, BaseException], None],
    ) -> None:
        self._loop = loop
        self._world = world
        self._say = say
        self._on_defect = on_defect
        # for an answer, by callee
        self._waiting: dict[Process, dict[asyncio.Future[Any], Callable[[], None]]] = {}
        self.names: dict[str, Process] = {}
        # each, once its constructor is through
        self.actors: dict[Process, asyncio.Future[Any]] = {}
        self.addresses: dict[str, tuple[Process, SimServer]] = {}
        # pairs that cannot talk; one name: cut off from everybody
        self.cuts: list[frozenset[str]] = []
        self.loss = self.doubling = self.late = 0.0  # chances

    async def ask(self, callee: Process, what: str, work: Work) -> Any:
        """Have `callee` do `work` in its own context; its answer or error, or Unreachable."""
        caller = PROCESS.get()
        caller.step()
        self._say(caller, f"asks {callee} {what}")
        answer = self._loop.create_future()

        def settle(outcome: Any, error: Exception | None) -> None:
            if not answer.done():
                answer.set_exception(error) if error else answer.set_result(outcome)

        def lost() -> None:
            if caller.random.random() < NOTICED:
                broken = functools.partial(
                    settle, None, Unreachable(f"{callee} does not answer {what}")
                )
                self._loop.call_later(
                    NOTICE_S * caller.random.random(), broken, context=caller.context
                )

        async def serve() -> None:
            outcome, error = await self._outcome(what, work)
            self._send(callee, caller, functools.partial(settle, outcome, error), lost)

        def deliver() -> None:
            self._loop.create_task(serve())

        waiting = self._waiting.setdefault(callee, {})
        waiting[answer] = lost
        try:
            for _ in range(1 + (caller.random.random() < self.doubling)):
                self._send(caller, callee, deliver, lost)
            return await answer
        finally:
            waiting.pop(answer, None)

    def died(self, process: Process) -> None:
        """Its callers learn that they get no answer, or wait in vain."""
        for lost in self._waiting.pop(process, {}).values():
            lost()

    async def _outcome(self, what: str, work: Work) -> tuple[Any, Exception | None]:
        try:
            return await work(), None
        except EXPECTED as error:
            return None, error
        except Exception as error:
            self._on_defect(f"in {what}", error)
            return None, Unreachable(f"a defect in {what}")

    def _send(
        self,
        sender: Process,
        receiver: Process,
        deliver: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        random = sender.random
        if self._is_cut(sender.name, receiver.name) or random.random() < self.loss:
            self._say(sender, f"message to {receiver} is lost")
            lost()
            return

        def arrive() -> None:
            if receiver.alive:
                self._loop.call_soon(deliver, context=receiver.context)
            else:
                lost()

        delay_s = LATE_S if random.random() < self.late else DELAY_S
        self._loop.call_later(delay_s * random.random(), arrive, context=self._world.context)

    def _is_cut(self, one: str, other: str) -> bool:
        return any(cut <= {one, other} for cut in self.cuts)


class Actors(Protocol):
    """The actors' processes, and who starts them again."""

    nodes: list[str]

    def start(self, name: str, build: Build, node: str) -> None:
        """Start an actor's next process, on `node` if that is there."""

    def crash(self, process: Process) -> None:
        """End a process; the actor's next one is started later."""

    def end(self, name: str) -> None:
        """End the newest process of an actor, for good."""


class SimRay:
    """`cluster.processes.ray_port.Ray` over the simulated network."""

    def __init__(
        self,
        network: Network,
        actors: Actors,
        say: Callable[[object, str], None],
        call_s: float,
    ) -> None:
        self._network = network
        self._actors = actors
        self._say = say
        self.call_s = call_s

    @property
    def restarted(self) -> bool:
        """An actor that cannot be constructed is tried again, as from the second time on."""
        return PROCESS.get().number > 1

    @property
    def node(self) -> str:
        """Where this process runs."""
        return PROCESS.get().node

    def ask(self, actor: str, method: str, args: tuple[Any, ...]) -> Awaitable[Any]:
        """The answer to come; ValueError for an unknown name."""
        self._check(actor)
        return self._ask(actor, method, args)

    async def _ask(self, name: str, method: str, args: tuple[Any, ...]) -> Any:
        if (callee := self._network.names.get(name)) is None:
            raise RayActorError
        sent = pickle.dumps(args)

        async def work() -> bytes:
            actor = await asyncio.shield(self._network.actors[callee])
            try:
                return pickle.dumps(await actor.call(method, *pickle.loads(sent)))
            except EchoRankError as error:
                raise RayTaskError(
                    method, "", pickle.loads(pickle.dumps(error)), ip="sim"
                ) from error

        try:
            return pickle.loads(await self._network.ask(callee, method, work))
        except Unreachable as error:
            raise RayActorError from error

    def create(self, name: str, build: Build, node: str = "") -> None:
        """Start an actor; ConfigError if there is one."""
        if name in self._network.names:
            raise ConfigError(f"there is an actor {name} already")
        self._actors.start(name, build, node)

    def has(self, name: str) -> bool:
        """Whether Ray knows the name."""
        return name in self._network.names

    def kill(self, name: str) -> None:
        """End the newest process of the actor, whoever asks."""
        self._check(name)
        self._actors.end(name)

    def nodes(self) -> frozenset[str]:
        """Those that take shards."""
        return frozenset(self._actors.nodes)

    def end(self, error: BaseException) -> None:
        """End this process at once."""
        self._say(PROCESS.get(), f"ends itself: {error!r}")
        self._actors.crash(PROCESS.get())
        raise blocking.Died

    def _check(self, name: str) -> None:
        if name not in self._network.names:
            raise ValueError(f"no actor {name!r}")


class SimServer:
    """`actors.calls.server.RpcServer` without sockets: real handlers,
    real messages, real statuses.
    """

    def __init__(self, network: Network, add_service: Callable[[Any], None]) -> None:
        self._network = network
        self._handlers = list[Any]()
        self.serving = False
        add_service(self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """What `grpc.aio.Server` has for services to register."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """The same handlers once more."""

    async def start(self, host: str, port: int) -> str:
        """Listen; the address, another one for each incarnation of a
        process unless it asks for a port.
        """
        process = PROCESS.get()
        address = f"{process.name}:{port}" if port else str(process)
        self._network.addresses[address] = (process, self)
        return address

    async def set_serving(self, serving: bool) -> None:
        """Health."""
        self.serving = serving

    async def stop(self, _grace_s: float) -> None:
        """Listen no more."""
        self.serving = False
        self._network.addresses = {
            at: each for at, each in self._network.addresses.items() if each[1] is not self
        }

    async def answer(self, method: str, raw: bytes, call: SimCall) -> bytes:
        """Serve one call; errors become statuses."""
        details = SimpleNamespace(method=method, invocation_metadata=call.metadata)
        handler = next(found for each in self._handlers if (found := each.service(details)))
        request = handler.request_deserializer(raw) if handler.request_deserializer else raw
        try:
            response = await handler.unary_unary(request, call)
        except (EchoRankError, grpc.aio.AioRpcError) as error:
            status = status_of(error)
            raise grpc.aio.AioRpcError(status.code, (), (), status.message) from error
        answered: bytes = (
            handler.response_serializer(response) if handler.response_serializer else response
        )
        return answered


class SimCall:
    """A call as its servicer sees it, and its deadline."""

    def __init__(self, loop: VirtualLoop, timeout_s: float, metadata: Any = ()) -> None:
        self._loop = loop
        self._until = loop.time() + timeout_s
        self.metadata = metadata

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return self._until - self._loop.time()

    def invocation_metadata(self) -> Any:
        """What came along."""
        return self.metadata


class SimChannel:
    """A `grpc.aio.Channel` to an address."""

    def __init__(self, loop: VirtualLoop, network: Network, address: str) -> None:
        self._loop = loop
        self._network = network
        self._address = address

    def unary_unary(self, method: str, *_: Any) -> Callable[..., Awaitable[bytes]]:
        """The method, to be called with bytes."""

        async def call(raw: bytes, *, timeout: float, metadata: Any = ()) -> bytes:
            if self._address not in self._network.addresses:
                raise grpc.aio.AioRpcError(
                    grpc.StatusCode.UNAVAILABLE, (), (), f"nobody listens at {self._address}"
                )
            process, server = self._network.addresses[self._address]
            called = SimCall(self._loop, timeout, metadata)
            asked = self._network.ask(process, method, lambda: server.answer(method, raw, called))
            try:
                async with asyncio.timeout(timeout):
                    answered: bytes = await asked
                    return answered
            except Unreachable as error:
                raise grpc.aio.AioRpcError(
                    grpc.StatusCode.UNAVAILABLE, (), (), str(error)
                ) from error
            except TimeoutError as error:
                raise grpc.aio.AioRpcError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, (), (), str(error)
                ) from error

        return call

    async def close(self, grace: float | None = None) -> None:
        """Nothing stays open."""
