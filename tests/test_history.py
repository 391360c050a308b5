"""What a training tells whoever watches it."""

from __future__ import annotations

import io
from pathlib import Path

from replearn.history import History
from replearn.progress import Progress


def test_a_collapse_is_told_once_when_it_is_seen(tmp_path: Path) -> None:
    stream = io.StringIO()
    with Progress(10, "byol", stream=stream) as progress:
        history = History(tmp_path / "history.jsonl", progress)
        for epoch, verdict in enumerate(
            ["complete", "healthy", "complete", "complete", "healthy", "dimensional"]
        ):
            history.write(step=5 * epoch, epoch=float(epoch), verdict=verdict)
        history.write(step=26, epoch=5.2, loss=1.0)
    told = [line for line in stream.getvalue().splitlines() if "features" in line]
    assert told == [
        "byol: epoch 2: the features look collapsed to about one point",
        "byol: epoch 4: the features look healthy",
        "byol: epoch 5: the features look collapsed to a few dimensions",
    ]
