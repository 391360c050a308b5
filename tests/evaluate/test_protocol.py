from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from replearn.evaluate.protocol import EvaluationConfig, LinearProtocol


def test_strengths_are_evenly_spaced_in_their_logarithm() -> None:
    strengths = LinearProtocol().strengths
    assert len(strengths) == 45
    assert np.allclose(np.log10(strengths), np.linspace(-6, 5, 45))
    assert LinearProtocol(strength_count=1).strengths == (1e-6,)


def test_survives_json() -> None:
    config = EvaluationConfig()
    assert EvaluationConfig.model_validate(config.model_dump(mode="json")) == config
    assert EvaluationConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "raw",
    [
        {"knn": {"k": 0}},
        {"knn": {"temperature": -0.07}},
        {"knn": {"neighbours": 5}},
        {"knn": {"version": 2}},
        {"linear": {"strength_low": 1.0, "strength_high": 0.1}},
        {"linear": {"shots": [0]}},
        {"views": {"count": 1}},
        {"sgd": {}},
    ],
)
def test_refuses(raw: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvaluationConfig.model_validate(raw)


def test_imports_no_torch() -> None:
    code = "import sys, replearn.evaluate.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
