"""The scoring service of one shard: gRPC in, a user's state and a model's answer out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import xxhash

from actors.calls.backlog import Backlog
from actors.calls.deadline import PRIOR, Deadline, Pace
from actors.calls.interceptor import Context
from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from actors.clock import Clock
from actors.errors import DeadlineExceeded, InvalidRequest, NotServedHere, UnknownArm
from actors.serve.exposure import ExposureLog, propensity_of
from actors.serve.limits import RequestLimits
from actors.serve.score_ids import ScoreIds
from actors.shard.applied import AppliedOffsets
from actors.shard.held import StateRead
from actors.shard.shard import Shard
from actors.state.rows import BYTES_BESIDE_ROW_MAX
from model.arrays import Keys
from model.bundle.bundle import Bundle
from model.kernels.scorer import Scores
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

R = TypeVar("R")
# questions with the scoring threads, of which there are two: none of these waits for the event loop
WIDTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What a request asks, checked: whose state, by which model, at what time, until when."""

    user: str
    user_key: int
    partition: int
    arm: str
    propensity: float
    bundle: Bundle
    now_ms: int
    deadline: Deadline


class ScoringService(pb_grpc.ScoringServicer):
    """Answers Score, ScoreStream, Recommend and Inspect from the states of one shard.

    Reading a state waits for its partition's lock and the model computes, so both run on `executor`
    and never on the event loop. Errors leave as `EchoRankError`; `RequestInterceptor` makes
    statuses of them.
    """

    def __init__(
        self,
        *,
        shard: Shard,
        arms: Mapping[str, Bundle],
        partitions: int,
        limits: RequestLimits,
        metrics: Metrics,
        clock: Clock,
        executor: Executor,
        applied: AppliedOffsets,
        ids: ScoreIds | None = None,
        exposures: ExposureLog | None = None,
        pace: Callable[[int], Pace] = Pace,
    ) -> None:
        self._shard = shard
        self._arms = arms
        self._partitions = partitions
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._executor = executor
        self._applied = applied
        self._exposures = exposures
        self._ids = ids or ScoreIds()
        self._backlog = Backlog(WIDTH, clock.monotonic)
        self._pace = {arm: pace(bundle.best) for arm, bundle in arms.items()}

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:  # noqa: N802
        """Probabilities of the candidates, in their order."""
        return await self._score(request, context)

    async def ScoreStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ScoreRequest], context: Context
    ) -> AsyncIterator[pb.ScoreResponse]:
        """One answer a request, in order;
        the first request that fails ends the stream with its status.
        """
        async for request in request_iterator:
            yield await self._score(request, context)

    async def Recommend(  # noqa: N802
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        """The best k of the catalogue."""
        k = self._limits.k(request.k)
        question = await self._question(request, context, request.min_offset, request.time_ms)
        return await self._compute(question, self._recommend_now, k, request.exclude_seen)

    async def Inspect(self, request: pb.InspectRequest, context: Context) -> pb.InspectResponse:  # noqa: N802
        """What is remembered of a user."""
        question = await self._question(request, context)
        return await self._compute(question, self._inspect_now)

    async def Routing(self, _request: pb.RoutingRequest, _context: Context) -> NoReturn:  # noqa: N802
        """A shard knows its own partitions only."""
        raise NotServedHere(
            "a shard has no routing table; ask the gateway, at serving.host and serving.port"
        )

    def wait_s(self) -> float:
        """Seconds that one more question would take; 0 while there is room."""
        return self._backlog.wait_s()

    async def _score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        item_keys = self._limits.item_keys(request.items)
        question = await self._question(request, context, request.min_offset, request.time_ms)
        response = await self._compute(question, self._score_now, request.items, item_keys)
        response.request_id = request.request_id
        return response

    async def _question(
        self, request: Any, context: Context, min_offset: int = 0, time_ms: int = 0
    ) -> _Question:
        deadline = Deadline.of(context, self._limits.deadline_default_s, self._clock.monotonic)
        self._limits.check_user(request.user)
        question = _Question(
            user=request.user,
            user_key=key(request.user),
            partition=partition_of(request.user, self._partitions),
            arm=request.arm,
            propensity=propensity_of(context),
            bundle=self._bundle(request.arm),
            now_ms=self._limits.time_ms(time_ms, self._clock.now_ms()),
            deadline=deadline,
        )
        if min_offset > 0:
            await self._await_offset(question, min_offset)
        return question

    def _bundle(self, arm: str) -> Bundle:
        if not arm:
            raise InvalidRequest(
                "arm",
                f"a shard needs the arm: one of {', '.join(self._arms)}; the gateway picks one",
            )
        if arm not in self._arms:
            raise UnknownArm(f"arm {arm!r} is not deployed; there are {', '.join(self._arms)}")
        return self._arms[arm]

    async def _await_offset(self, question: _Question, offset: int) -> None:
        partition = question.partition
        arm = question.arm
        deadline = question.deadline

        def position() -> int:
            # NotOwner once it is given up: the gateway asks elsewhere
            return self._shard.position(partition, arm)

        if not await self._applied.wait(partition, offset, position, deadline.wait_s()):
            raise DeadlineExceeded(
                f"arm {arm} of partition {partition} has applied the clicks below offset "
                f"{position()}, min_offset is {offset}; allow more time, or ask without "
                "min_offset for the state as it is"
            )

    async def _compute(self, question: _Question, work: Callable[..., R], *args: Any) -> R:
        async with self._backlog.place(question.deadline):
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, work, question, *args
            )

    def _score_now(
        self, question: _Question, names: Sequence[str], item_keys: Keys
    ) -> pb.ScoreResponse:
        started = time.perf_counter()
        bundle = question.bundle
        candidates = len(item_keys)
        state = self._read(question)
        items = bundle.item_rows(item_keys)  # (M,)
        level = self._pace[question.arm].level(question.deadline.left_s(), candidates)
        scores = bundle.score(state.row, items, question.now_ms, level)
        unknown = int(np.count_nonzero(items >= len(bundle.items)))
        self._observe(question, state, scores, started, candidates)
        self._metrics.score_candidates.observe(candidates)
        if unknown:
            self._metrics.unknown_items_total.labels(question.arm, "request").inc(unknown)
        origin = self._origin(question, state, scores.level)
        probabilities = scores.probabilities.tolist()
        self._expose(question, state, origin, pb.Exposure.METHOD_SCORE, names, probabilities)
        return pb.ScoreResponse(origin=origin, probabilities=probabilities, unknown_items=unknown)

    def _recommend_now(
        self, question: _Question, k: int, exclude_seen: bool
    ) -> pb.RecommendResponse:
        started = time.perf_counter()
        bundle = question.bundle
        state = self._read(question)
        rows, scores = bundle.recommend(state.row, k, exclude_seen, question.now_ms)
        self._observe(question, state, scores, started)
        origin = self._origin(question, state, scores.level)
        probabilities = scores.probabilities.tolist()
        names = [bundle.items[row] for row in rows.tolist()]
        self._expose(question, state, origin, pb.Exposure.METHOD_RECOMMEND, names, probabilities)
        items = [
            pb.RecommendedItem(item=name, probability=probability)
            for name, probability in zip(names, probabilities, strict=True)
        ]
        return pb.RecommendResponse(origin=origin, items=items)

    def _inspect_now(self, question: _Question) -> pb.InspectResponse:
        state = self._read(question)
        response = pb.InspectResponse(
            origin=self._origin(
                question, state, question.bundle.best if state.row is not None else PRIOR
            ),
            user_key=question.user_key,
            state_bytes=question.bundle.layout.row_bytes + BYTES_BESIDE_ROW_MAX,
        )
        if state.row is not None:
            remembered = question.bundle.remembered(state.row)
            response.events = remembered.events
            response.last_event_ms = remembered.last_event_ms
            response.recent_items.extend(
                _item_name(question.bundle, row) for row in remembered.recent.tolist()
            )
            response.state_digest = _digest(state)
        return response

    def _read(self, question: _Question) -> StateRead:
        question.deadline.check("before the state was read")
        return self._shard.read(question.partition, question.arm, question.user_key)

    def _expose(
        self,
        question: _Question,
        state: StateRead,
        origin: pb.Origin,
        method: pb.Exposure.Method,
        candidates: Sequence[str],
        probabilities: Sequence[float],
    ) -> None:
        if self._exposures is None:
            return
        self._exposures.log(
            pb.Exposure(
                score_id=origin.score_id,
                user=question.user,
                arm=origin.arm,
                model_version=origin.model_version,
                propensity=question.propensity,
                partition=origin.partition,
                offset=origin.offset,
                state_digest=_digest(state),
                level=origin.level,
                time_ms=question.now_ms,
                method=method,
                cold_user=origin.cold_user,
                candidates=candidates,
                probabilities=probabilities,
                stale=origin.stale,
                user_state=origin.user_state,
            )
        )

    def _observe(
        self,
        question: _Question,
        state: StateRead,
        scores: Scores,
        started: float,
        candidates: int | None = None,
    ) -> None:
        seconds = time.perf_counter() - started
        self._metrics.score_seconds.labels(
            question.arm, pb.Level.Name(scores.level)[len("LEVEL_") :]
        ).observe(seconds)
        if candidates is not None:
            self._pace[question.arm].learn(scores.level, seconds, candidates)
        if state.row is None:
            self._metrics.degraded_total.labels("restoring" if state.partial else "cold_user").inc()
        elif candidates is not None and scores.level != question.bundle.best:
            # recommendations have the level of their order
            self._metrics.degraded_total.labels("deadline").inc()

    def _origin(self, question: _Question, state: StateRead, level: int) -> pb.Origin:
        user_state = _user_state(state)
        return pb.Origin(
            arm=question.arm,
            model_version=question.bundle.version,
            partition=question.partition,
            offset=state.offset,
            state_age_ms=-1 if state.row is None else max(0, question.now_ms - state.last_event_ms),
            level=pb.Level.Name(level),
            score_id=self._ids.next(self._clock.now_ms()),
            stale=state.stale,
            cold_user=user_state == pb.USER_STATE_COLD,
            user_state=user_state,
        )


def _user_state(state: StateRead) -> pb.UserState:
    if state.row is not None:
        return pb.USER_STATE_WARM
    return pb.USER_STATE_UNKNOWN if state.partial else pb.USER_STATE_COLD


def _digest(state: StateRead) -> str:
    return "" if state.row is None else xxhash.xxh64_hexdigest(state.row.tobytes())


def _item_name(bundle: Bundle, row: int) -> str:
    """The item's id; one outside the catalogue left only its hash bucket."""
    return (
        bundle.items[row]
        if row < len(bundle.items)
        else f"(unknown, bucket {row - len(bundle.items)})"
    )
