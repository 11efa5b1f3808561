"""Training by several processes: Ray Train starts them,
on this machine or on the cluster at RAY_ADDRESS.

The loop is the same as for one (`training.fit.harness`); what workers do together is in
`training.workers`. The first one evaluates and hands the model back. A worker that fails ends the
training: nothing half-trained is saved.
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import ray
import torch
import xxhash
from ray.exceptions import RayError
from ray.util.queue import Queue
from torch.distributed import is_initialized

from model.config import ModelConfig
from training import patient_ray
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import TrainingError
from training.fit.allocation import prepare_process
from training.fit.distill import Teacher
from training.fit.harness import pick_device
from training.fit.progress import TrainingProgress
from training.fit.train import StreamingTask, TrainConfig, TrainedModel, train
from training.workers import Group

ROOT = Path(__file__).parents[1]
OBJECT_STORE_BYTES = 512 << 20


def train_together(
    count: int,
    shape: ModelConfig,
    settings: TrainConfig,
    vocabulary: Vocabulary,
    training: Histories,
    held: Held,
    *,
    show_progress: bool = True,
    teachers: Sequence[Teacher] = (),
    task_type: type[StreamingTask] = StreamingTask,
    phase: str = "training",
    share: float = 1.0,
    strength: float | None = None,
) -> TrainedModel:
    """Fit as `train` does, by `count` workers; gloo averages on CPUs, NCCL on GPUs.
    Progress comes epoch by epoch.

    Raises:
        TrainingError: a worker failed, or the workers ended with different weights.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415 - needs pandas, takes a second
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415
    from ray.train.v2.api.exceptions import TrainingFailedError  # noqa: PLC0415

    on_gpu = pick_device(settings.device).type == "cuda"
    with (
        started(count),
        tempfile.TemporaryDirectory(prefix="echorank-train-") as folder,
        TrainingProgress(shown=show_progress, phase=phase) as progress,
        _heard_by(progress) as epochs,
    ):
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "parts": ray.put((shape, settings, vocabulary, training, held, teachers)),
                "epochs": epochs,
                "more": {
                    "task_type": task_type,
                    "phase": phase,
                    "share": share,
                    "strength": strength,
                },
            },
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=count, use_gpu=on_gpu),
            run_config=RunConfig(
                name="train", storage_path=folder, failure_config=FailureConfig(max_failures=0)
            ),
        )
        try:
            model, digests = trainer.fit().return_value
        except TrainingFailedError as error:
            raise TrainingError(_what_failed(error, count)) from error
    if len(set(digests)) != 1:
        raise TrainingError(
            f"the {count} workers ended with different weights ({digests}); train with --workers 1"
        )
    assert isinstance(model, TrainedModel)
    return model


@contextmanager
def started(cpus: int) -> Iterator[None]:
    """Ray, joined at RAY_ADDRESS or started with at least that many processors, and left again."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    env = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    local: dict[str, Any] = {
        "num_cpus": max(cpus, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    init = functools.partial(
        ray.init,
        address=address or "local",
        runtime_env={"env_vars": env},
        logging_level=logging.ERROR,
        log_to_driver=False,
        **({} if address else local),
    )
    patient_ray.start(init)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _heard_by(progress: TrainingProgress) -> Iterator[Queue]:
    """A queue whose lines `progress` shows as they come."""
    epochs = Queue(actor_options={"num_cpus": 0})
    listener = Thread(target=_listen, args=(epochs, progress), daemon=True)
    listener.start()
    try:
        yield epochs
    finally:
        with suppress(RayError):
            # the queue may have died with its node; the training's own error says more
            epochs.put(None)
        listener.join()


def _listen(epochs: Queue, progress: TrainingProgress) -> None:
    with suppress(RayError):
        while (line := epochs.get()) is not None:
            progress.epoch(line)


def _work(config: dict[str, Any]) -> tuple[TrainedModel, list[str]]:
    """What each worker does; Ray returns the first one's answer."""
    from ray.train.torch import get_device  # noqa: PLC0415

    assert is_initialized()
    prepare_process()
    if (device := get_device()).type == "cuda":
        torch.cuda.set_device(device)
    shape, settings, vocabulary, training, held, teachers = ray.get(config["parts"])
    group = Group(settings.seed)
    model = train(
        shape,
        settings,
        vocabulary,
        training,
        held,
        show_progress=False,
        on_epoch=config["epochs"].put if group.rank == 0 else None,
        workers=group,
        teachers=teachers,
        **config["more"],
    )
    return model, group.gather(_digest(model))


def _digest(model: TrainedModel) -> str:
    digest = xxhash.xxh64()
    for weights in model.network.state_dict().values():
        digest.update(weights.numpy().tobytes())
    return digest.hexdigest()


def _what_failed(error: Exception, count: int) -> str:
    failures = getattr(error, "worker_failures", {})
    said = "; ".join(
        f"worker {rank}: {_last_line(failure)}" for rank, failure in sorted(failures.items())
    )
    return (
        f"training with {count} workers failed ({said or _last_line(error)}); nothing was saved: "
        "try again, with fewer workers if memory ran out"
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
