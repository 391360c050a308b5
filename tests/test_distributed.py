"""One rank or several, real processes joined by gloo: the same loss, gradients and statistics."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from replearn import distributed
from replearn.build import method_tensors
from replearn.engine import Engine
from replearn.methods.base import Batch, Method
from tests.methods.test_contract import (
    TRAINED,
    batch_for,
    run_config,
    training_method,
    untrained_teacher,
)

MARGIN = 1e-9
"""In double precision; ranks add up in another order."""
SINGLE = 1e-6
"""Of what is logged, which may be in single precision."""


def prepared(name: str, *, paired: bool = False) -> tuple[Method, Batch]:
    """A method and a batch in double precision; with `paired`, each sample has a caption of its own."""
    config = run_config(name)
    method = Engine().settle(training_method(config).double(), "cpu")
    method.learn_from(untrained_teacher().double())
    method.before_step(0.6)
    batch = batch_for(config)
    changes: dict[str, object] = {"views": tuple(view.double() for view in batch.views)}
    if paired:
        assert batch.tokens is not None and batch.caption is not None
        changes |= {
            "tokens": batch.tokens[batch.caption],
            "caption": torch.arange(len(batch.index)),
        }
    return method, changed(batch, **changes)


def changed(batch: Batch, **changes: object) -> Batch:
    fields = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    return Batch(**{**fields, **changes})  # type: ignore[arg-type]


def own_share(batch: Batch, *, paired: bool) -> Batch:
    """This rank's rows of a batch."""
    rows = distributed.share(len(batch.index))
    assert batch.labels is not None and batch.tokens is not None and batch.caption is not None
    captions = {"caption": batch.caption[rows]}
    if paired:
        captions = {
            "tokens": batch.tokens[rows],
            "caption": torch.arange(rows.stop - rows.start),
        }
    return changed(
        batch,
        views=tuple(view[rows] for view in batch.views),
        index=batch.index[rows],
        draws=batch.draws[rows],
        labels=batch.labels[rows],
        **captions,
    )


def outcome(method: Method, batch: Batch) -> dict[str, Tensor]:
    """Loss, gradients, buffers and averages after one step of a method."""
    loss_of = Engine().loss_of(method)
    loss = loss_of(batch)
    loss.total.backward()
    found = {"loss": distributed.mean_over_ranks(loss.total.detach())}
    found |= {f"log {n}": distributed.mean_over_ranks(v.double()) for n, v in loss.scalars.items()}
    found |= {f"gradient {n}": p.grad for n, p in method.named_parameters() if p.grad is not None}
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    method.after_step(0.5)
    found |= {f"tensor {n}": t for n, t in method_tensors(method).items()}
    return {name: tensor.detach().double().contiguous() for name, tensor in found.items()}


def cases() -> list[tuple[str, bool, bool]]:
    """Method, whether captions are paired, whether one pass takes all views."""
    separate = ("byol", "dino", "gram")
    apart = [(name, False, at_once) for name in separate for at_once in (True, False)]
    plain = [(name, False, True) for name in TRAINED if name not in separate]
    return [*apart, *plain, ("clip", True, True)]


def work(rank: int, ranks: int, port: int, folder: str) -> None:
    """What one rank does: a step of every method on its share of the batch."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks
    )
    for name, paired, at_once in cases():
        method, batch = prepared(name, paired=paired)
        method.views_at_once = at_once
        found = outcome(method, own_share(batch, paired=paired))
        save_file(found, Path(folder) / f"{name}-{paired}-{at_once}-{rank}.safetensors")
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module", params=[2, 3])
def steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the outcome of every case on every rank."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (request.param, free_port(), str(folder)), nprocs=request.param)  # type: ignore[no-untyped-call]
    return folder


@pytest.mark.parametrize(("name", "paired", "at_once"), cases())
def test_several_ranks_make_the_step_of_one(
    steps: Path, name: str, paired: bool, at_once: bool
) -> None:
    method, batch = prepared(name, paired=paired)
    alone = outcome(method, batch)
    assert any(key.startswith("gradient") for key in alone)
    files = sorted(steps.glob(f"{name}-{paired}-{at_once}-*.safetensors"))
    assert len(files) in (2, 3)
    for file in files:
        together = load_file(file)
        assert together.keys() == alone.keys()
        for key, expected in alone.items():
            margin = SINGLE if key.startswith("log") else MARGIN
            torch.testing.assert_close(together[key], expected, rtol=margin, atol=margin, msg=key)


def test_alone_everything_is_the_identity() -> None:
    rows = torch.randn(4, 2)
    assert distributed.gather(rows) is rows
    assert distributed.mean_over_ranks(rows) is rows
    assert distributed.share(6) == slice(0, 6)
    assert distributed.any_rank(True, rows.device) and not distributed.any_rank(False, rows.device)
