"""A client that asks the gateway for users' states, all the time."""

from __future__ import annotations

import grpc

from actors.clicks.click import key
from rpc import echorank_pb2 as pb
from tests.simulation.simulated.loop import PROCESS
from tests.simulation.simulated.network import SimChannel
from tests.simulation.world import World

EVERY_S = 0.15
TIMEOUT_S = 1.0
GATEWAY = "gateway:50051"
METHOD = "/echorank.v1.Scoring/Inspect"


class Reader:
    """Compares each answer with the clean run."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """Ask for ever; a call that fails is tried again, as clients do."""
        random = PROCESS.get().random
        while True:
            user = f"user-{random.randrange(self._world.scenario.users)}"
            await self._ask(user, random.choice(sorted(self._world.models.arms)))
            pause = self._world.loop.create_future()
            self._world.loop.call_later(EVERY_S, pause.set_result, None)
            await pause

    async def _ask(self, user: str, arm: str) -> None:
        channel = SimChannel(self._world.loop, self._world.network, GATEWAY)
        request = pb.InspectRequest(user=user, arm=arm).SerializeToString()
        try:
            answer = pb.InspectResponse.FromString(
                await channel.unary_unary(METHOD)(request, timeout=TIMEOUT_S)
            )
        except grpc.aio.AioRpcError as error:
            self._world.trace.say(PROCESS.get(), f"hears {error.code().name} for {user}")
            return
        origin = answer.origin
        self._world.trace.say(
            PROCESS.get(),
            f"reads {user} at {origin.partition}:{origin.offset} {answer.state_digest}",
        )
        with self._world.trace.judged():
            self._world.invariants.read(
                origin.partition, arm, key(user), origin.offset, answer.state_digest
            )
