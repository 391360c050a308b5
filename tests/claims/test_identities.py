"""The checks of identities see a difference when there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from replearn.claims import identities

ALL = (
    identities.clip_is_nt_xent_across_modalities,
    identities.clip_is_single_positive_supcon,
    identities.nt_xent_is_supcon_of_pairs,
)


@pytest.mark.parametrize("check", ALL)
def test_the_identities_hold_to_rounding(check: Callable[[], float]) -> None:
    assert check() < 1e-12


@pytest.mark.parametrize(
    ("check", "loss"), [(ALL[0], "clip_loss"), (ALL[1], "clip_loss"), (ALL[2], "nt_xent")]
)
def test_another_formula_is_noticed(
    check: Callable[[], float], loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = getattr(identities, loss)

    def at_another_temperature(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
        changed: torch.Tensor = true(a, b, 1.1 * scale)
        return changed

    monkeypatch.setattr(identities, loss, at_another_temperature)
    assert check() > 1e-3
