"""The trained network that a run learns from."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from replearn.build import build_method, load_tensors
from replearn.config import RunConfig, read_run_config
from replearn.data.prepared import Manifest
from replearn.errors import UserError
from replearn.methods.base import Method


def trained_teacher(config: RunConfig, encoder: Path | None, manifest: Manifest) -> Method:
    """The teacher of a run, on the CPU, frozen and in evaluation mode.

    Args:
        config: of the run that learns.
        encoder: encoder.safetensors of the teacher's run, its config.json beside it.
        manifest: of the data that both were given.

    Raises:
        UserError: there is no such file, or it is of another run than the configuration names.
    """
    if encoder is None:
        raise UserError(
            "the run learns from a trained one", where=config.id, hint="Give --teacher."
        )
    taught_by = read_run_config(encoder.with_name("config.json"))
    if taught_by.key != config.teacher:
        raise UserError(
            f"the teacher of {config.id} is {config.teacher}, not {taught_by.key}",
            where=str(encoder),
        )
    teacher = build_method(taught_by, manifest)
    load_tensors(teacher, load_file(encoder))
    return teacher.eval().requires_grad_(False)
