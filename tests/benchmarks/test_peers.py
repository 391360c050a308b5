"""The comparison with lightly: its images, its arithmetic, replearn's side, and the gate where lightly is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.harness import Table
from benchmarks.pairs import in_fresh_process
from benchmarks.peers import __main__ as command
from benchmarks.peers import ours
from benchmarks.peers.__main__ import Size, candidates, fill, lasting, main, parsed, to_knn
from benchmarks.peers.images import lay_out, prepared
from benchmarks.peers.task import VIEW, Recipe, Task, training_files
from replearn.data import open_prepared
from replearn.errors import UserError


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("peers")
    images = lay_out(folder / "images", None, 40, 10)
    data = prepared(images, folder)
    return Task(str(images), str(data), "convnet", 16, warm_up=1, epochs=2, device="cpu")


def test_images_are_cut_from_photographs_the_same_every_time(task: Task, tmp_path: Path) -> None:
    again = lay_out(tmp_path / "images", None, 40, 10)
    files = training_files(task.images)
    assert len(files) == 40
    contents = [(Path(task.images) / "train" / file).read_bytes() for file in files]
    assert contents == [(again / "train" / file).read_bytes() for file in files]
    assert len(set(contents)) == 40
    assert open_prepared(task.prepared).manifest.classes == ("flower", "temple")


def test_both_sides_number_the_images_alike(task: Task) -> None:
    part = open_prepared(task.prepared).part("train")
    files = training_files(task.images)
    for row, image in zip(part.index.tolist(), part.images, strict=True):
        decoded = np.asarray(Image.open(Path(task.images) / "train" / files[row]))
        assert np.array_equal(decoded.transpose(2, 0, 1), image)


def test_a_folder_of_ones_own_is_linked_to_and_cut_off(task: Task, tmp_path: Path) -> None:
    linked = lay_out(tmp_path / "images", Path(task.images), 12, 4)
    assert len(training_files(linked)) == 12
    assert {path.name for path in (linked / "test").iterdir()} == {"temple", "flower"}
    with pytest.raises(UserError, match="no class folders"):
        lay_out(tmp_path / "other", tmp_path / "nowhere", 12, 4)


def test_a_run_lasts_the_seconds_that_are_to_be_timed(task: Task) -> None:
    """At 640 views/s and 64 views an epoch (two steps of 16 images), 3 s are 30 epochs."""
    assert lasting(task, Size(32, 16, 3, 1), 640).epochs == task.warm_up + 30
    assert lasting(task, Size(32, 16, 0, 1), 0).epochs == task.warm_up + 1


def test_workers_to_try() -> None:
    assert candidates(1) == [0, 1]
    assert candidates(2) == [0, 1, 2]
    assert candidates(16) == [0, 1, 8, 16]


def test_replearn_trains_and_is_timed(task: Task) -> None:
    assert ours.throughput(task.as_dict()) > 0


@pytest.mark.parametrize(
    ("every", "recipe", "epochs"),
    [(1, "own", [1, 2, 3]), (2, "lightly", [2, 3]), (3, "kobak", [3]), (3, "short", [3])],
)
def test_the_curve_of_replearn_has_a_point_for_each_look(
    task: Task, every: int, recipe: Recipe, epochs: list[int]
) -> None:
    curve = in_fresh_process(
        "benchmarks.peers.knn:our_curve",
        task=replace(task, epochs=3).as_dict(),
        target=1.1,
        every=every,
        recipe=recipe,
    )
    assert [epoch for epoch, _, _ in curve] == epochs
    times = [seconds for _, seconds, _ in curve]
    assert times == sorted(set(times)) and times[0] > 0
    assert all(0 <= accuracy <= 1 for _, _, accuracy in curve)


def test_a_race_compares_times_only_if_both_arrive() -> None:
    fast, slow = [[1, 2.0, 0.5], [2, 4.0, 0.9]], [[1, 10.0, 0.6], [2, 20.0, 0.85]]
    both, one = Table("both arrive"), Table("one arrives")
    fill(both, {"replearn": fast, "lightly": slow}, 0.8)
    assert both.rows[0].case == "time to the accuracy"
    assert both.rows[0].ratio is not None
    assert both.rows[0].ratio.median == 5
    fill(one, {"replearn": fast, "lightly": slow}, 0.87)
    assert one.rows[0].ratio is None
    assert one.notes[0] == "not reached by lightly; no ratio"


def test_an_interrupted_race_keeps_the_side_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def curve(function: str, **_: object) -> list[list[float]]:
        if function.endswith("their_curve"):
            raise KeyboardInterrupt
        return [[1, 2.0, 0.9]]

    monkeypatch.setattr(command, "in_fresh_process", curve)
    tables = to_knn(parsed(["--to-knn", "0.8", "--quick", "--device", "cpu"]))
    table = next(tables)
    with pytest.raises(KeyboardInterrupt):
        next(tables)
    assert table.rows[0].values == {"replearn": 2.0}
    assert table.rows[0].ratio is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to-knn", "84.7"], "84.7 is not between 0 and 1: a share, 0.847, not 84.7"),
        (["--to-knn", "nan"], "nan is not between 0 and 1"),
        (["--to-knn", "0.8"], "--to-knn needs --images: else made-up images would be measured"),
        (["--to-knn", "0.8", "--quick", "--encoder", "resnet18", "convnet"], "takes one --encoder"),
        (["--only-ours"], "--only-ours goes with --to-knn only"),
        (["--recipe", "own"], "--recipe goes with --to-knn only"),
        (["--epochs", "200"], "--epochs goes with --to-knn only"),
        (["--every", "1"], "--every goes with --to-knn only"),
        (["--batch-size", "512"], "--batch-size goes with --to-knn only"),
        (["--rounds", "0"], "argument --rounds: 0 is not a whole number above 0"),
        (["--workers", "-1"], "argument --workers: -1 is not a whole number, 0 or more"),
        (["--seconds", "0"], "argument --seconds: 0 is not a number of seconds above 0"),
    ],
)
def test_a_command_line_that_makes_no_sense(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(arguments)
    assert message in capsys.readouterr().err


def test_what_the_command_line_leaves_out_is_filled_in() -> None:
    chosen = parsed(["--to-knn", "0.847", "--images", "cifar10", "--every", "10"])
    assert (chosen.epochs, chosen.batch_size, chosen.every) == (200, 512, 10)
    assert (chosen.recipe, chosen.only_ours) == ("own", False)
    assert parsed(["--workers", "0"]).workers == 0


def test_only_a_side_that_is_trained_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, tuple[str, ...]]] = []
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    monkeypatch.setattr(command, "run", lambda name, *_, peers: ran.append((name, peers)))
    arguments = ["peers", "--to-knn", "0.8", "--quick"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="lightly is not installed"):
        main()
    monkeypatch.setattr("sys.argv", [*arguments, "--only-ours"])
    main()
    assert ran == [("peers-to-knn", ())]


def test_the_same_work_passes_the_gate_and_other_work_does_not(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightly")
    from benchmarks.peers import gate, theirs

    notes = gate.notes(task.as_dict(), images=200)
    assert any("same loss" in note for note in notes)
    with monkeypatch.context() as other:
        other.setattr(gate, "VIEW", VIEW.model_copy(update={"crop_scale": (0.3, 1.0)}))
        with pytest.raises(UserError, match=r"different work|distributed differently"):
            gate.same_views(task, 200)
    with monkeypatch.context() as other:
        other.setattr(theirs, "TEMPERATURE", 0.4)
        with pytest.raises(UserError, match="loss"):
            gate.same_network(task, Path(task.prepared).parent / "other")


def test_lightly_trains_and_is_timed(task: Task) -> None:
    pytest.importorskip("lightly")
    from benchmarks.peers import theirs

    threads = torch.get_num_threads()
    assert theirs.throughput(task.as_dict()) > 0
    assert torch.get_num_threads() == threads
