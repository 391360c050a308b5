"""Charts, maps and pictures: what they show is what they were given."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from replearn.augment import pixels
from replearn.errors import UserError
from replearn.parallel import in_order
from replearn.report import charts, curves, maps, pictures, similarity, spectra
from replearn.report.costs import VIEWS
from replearn.report.palette import METHOD_COLOURS, method_colours
from replearn.report.sheets import beyond_accuracy
from replearn.report.svg import axes, figure, method_colour, to_svg
from replearn.standings import LINEAR
from replearn.views import View
from tests.boards import board, entry


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [(item.text or "").strip() for item in root.iter() if item.tag.endswith("text")]


class TestSvg:
    def test_texts_stay_as_they_are(self) -> None:
        made = figure(200, 100)
        ax = axes(made, 30, 5, 5, 20)
        ax.set_yticks([0.12345], ["0.12345 #0a0001 <b>&"])
        svg = to_svg(made, "x", "<script>")
        assert "0.12345 #0a0001 <b>&" in texts(svg)
        assert "<script>" not in svg

    def test_colours_come_from_the_page(self) -> None:
        made = figure(200, 100)
        axes(made, 30, 5, 5, 20).plot([0, 1], [0, 1], color=method_colour(3))
        svg = to_svg(made, "x", "line")
        assert "var(--m3)" in svg
        assert "var(--grid)" in svg
        assert not re.search(r"#0[1-4a]0", svg)

    def test_two_figures_share_no_id_and_load_nothing(self) -> None:
        def draw(name: str) -> str:
            made = figure(200, 100)
            axes(made, 30, 5, 5, 20).plot([0, 1], [0, 1], "o")
            return to_svg(made, name, "dots")

        first, second = (set(re.findall(r' id="([^"]+)"', draw(name))) for name in ("a", "b"))
        assert first
        assert not first & second
        assert "http" not in draw("a")


class TestAccuracyChart:
    def test_every_row_is_named_and_valued(self) -> None:
        rows = [entry("simclr", [0.8, 0.82]), entry("<b>mine</b>", [0.613, 0.613])]
        numbers = {row.name: place for place, row in enumerate(rows)}
        shown = texts(charts.accuracy(board(*rows), LINEAR, "Linear probe", numbers, "x"))
        assert {"SimCLR", "81.0", "<b>mine</b>", "61.3"} <= set(shown)

    def test_cost_needs_trained_rows(self) -> None:
        rows = [entry("raw_pixels", [0.8], reference=True, deterministic=True)]
        assert charts.cost(board(*rows), LINEAR, VIEWS, {rows[0].name: 0}, "x") is None


class TestPalette:
    def test_methods_keep_their_colour_and_variants_get_another(self) -> None:
        rows = [entry("simclr", [0.8]), entry("mine", [0.7])]
        found = method_colours(rows)
        assert found[("simclr", "default")] == METHOD_COLOURS["simclr"]
        assert len(set(found.values())) == 2


class TestCurves:
    def test_a_half_written_last_line_is_left_out(self, tmp_path: Path) -> None:
        file = tmp_path / "history.jsonl"
        file.write_text(json.dumps({"epoch": 0, "loss": 2.0}) + '\n{"epoch": 1, "lo')
        epochs, losses = curves.curve(curves.read_history(file), "loss")
        assert (epochs.tolist(), losses.tolist()) == ([0], [2])

    def test_a_damaged_line_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "history.jsonl"
        file.write_text('oops\n{"epoch": 1}\n')
        with pytest.raises(UserError, match="line 1"):
            curves.read_history(file)

    def test_values_that_were_not_finite_are_gaps(self) -> None:
        history = [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": None}, {"epoch": 2, "loss": 0.5}]
        assert curves.curve(history, "loss")[0].tolist() == [0, 2]

    @pytest.mark.parametrize(
        ("looks", "epoch"),
        [
            ("hhh", None),
            ("chh", None),
            ("chccc", 2.0),
            ("hchcd", 3.0),
            ("c", None),
        ],
    )
    def test_a_collapse_begins_where_no_later_look_is_healthy(
        self, looks: str, epoch: float | None
    ) -> None:
        words = {"h": "healthy", "c": "complete", "d": "dimensional"}
        history = [
            {"step": 10 * e, "epoch": float(e), "verdict": words[look]}
            for e, look in enumerate(looks)
        ]
        assert curves.first_collapse([*history, {"step": 99, "epoch": 9.0, "loss": 1.0}]) == epoch

    def test_thinning_keeps_the_mean(self) -> None:
        long = np.arange(1200.0), np.random.default_rng(0).normal(size=1200)
        epochs, values = curves.thinned(long, 100)
        assert len(values) == 100
        assert values.mean() == pytest.approx(long[1].mean())
        assert (np.diff(epochs) > 0).all()


class TestSpectra:
    def test_shares_of_variance_add_up(self) -> None:
        spectrum = spectra.read_spectrum({"h_spectrum": [1.0, 3.0, None]}, "h")
        assert spectrum is not None
        assert spectrum.shares.tolist() == [0.75, 0.25, 0.0]

    def test_no_spectrum_no_panel(self) -> None:
        assert spectra.read_spectrum({}, "h") is None
        assert spectra.read_spectrum({"h_spectrum": [0.0, 0.0]}, "h") is None


class TestMaps:
    def test_the_same_features_give_the_same_map(self) -> None:
        x = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32)
        first, how = maps.embedding(x)
        second, _ = maps.embedding(x)
        assert how == maps.TITLE
        np.testing.assert_array_equal(first, second)

    def test_maps_made_side_by_side_are_those_made_one_by_one(self) -> None:
        random = np.random.default_rng(0)
        features = [random.normal(size=(150, width)).astype(np.float32) for width in (8, 9)]
        beside = in_order(maps.embedding, features, threads=2, ahead=2)
        for x, (place, _) in zip(features, beside, strict=True):
            np.testing.assert_array_equal(place, maps.embedding(x)[0])

    @pytest.mark.parametrize("x", [np.ones((200, 5)), np.full((200, 5), np.nan), np.eye(4)])
    def test_collapsed_features_still_have_a_map(self, x: np.ndarray) -> None:
        place, how = maps.embedding(x.astype(np.float32))
        assert place.shape == (len(x), 2)
        assert "PCA" in how
        assert np.isfinite(place).all()

    def test_each_point_is_drawn_once_within_the_frame(self) -> None:
        place = np.random.default_rng(0).normal(size=(40, 2)) * [5, 1]
        svg = maps.drawing(place, np.arange(40) % 3, "story")
        points = [(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h0", svg)]
        assert len(points) == 40
        assert all(0 <= value <= maps.SIZE for point in points for value in point)

    def test_rare_classes_share_grey(self) -> None:
        labels = np.concatenate([np.repeat(np.arange(12), 5), [12, 13]])
        chosen, slots = maps.class_groups(labels, 14)
        assert chosen == list(range(12))
        assert slots is not None
        assert slots[-2:].tolist() == [-1, -1]


class TestSimilarity:
    def test_every_pair_is_a_square_of_its_own_darkness(self) -> None:
        rows = [entry("simclr", [0.8]), entry("byol", [0.7]), entry("<b>", [0.6])]
        pairs = {(rows[1].name, rows[0].name): 0.91, (rows[0].name, rows[2].name): 0.2}
        svg = similarity.heat_map(board(*rows), pairs, "x")
        assert svg is not None
        shown = texts(svg)
        assert shown.count("91") == shown.count("20") == 2
        assert shown.count("100") == 3
        assert shown.count("SimCLR") == 2
        assert "most alike: BYOL and SimCLR, 91 %" in svg
        assert "<b>" not in svg
        assert similarity.heat_map(board(*rows), {}, "x") is None

    def test_the_table_of_a_study_is_read_and_may_be_missing(self, tmp_path: Path) -> None:
        assert similarity.read_similarities(tmp_path) == {}
        (tmp_path / "tables").mkdir()
        (tmp_path / "tables" / "cka.csv").write_text(
            "dataset,method_a,variant_a,method_b,variant_b,cka\ntoy,a,default,b,wide,0.25\n"
        )
        expected = {"toy": {(("a", "default"), ("b", "wide")): 0.25}}
        assert similarity.read_similarities(tmp_path) == expected


class TestBeyondAccuracy:
    def test_it_shows_what_somebody_has(self) -> None:
        rows = [entry("simclr", [0.8, 0.9]), entry("byol", [0.7])]
        assert beyond_accuracy(board(*rows)) == ""
        rows[0].values[("structure", "nmi")] = {0: 0.5, 1: 0.6}  # type: ignore[index]
        page = beyond_accuracy(board(*rows))
        assert "55.0 ± 7.1" in page
        assert "NMI" in page
        assert "MAP@R" not in page
        assert "BYOL" not in page


class TestPictures:
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_a_small_picture_survives(self, channels: int) -> None:
        shape = (channels, 9, 7)
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        image[3:] = 255
        head, content = pictures.data_uri(image).split(",")
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert shown.shape[:2] == (9, 7)
        if "png" in head:
            np.testing.assert_array_equal(
                shown.reshape(9, 7, -1).transpose(2, 0, 1)[:channels], image
            )

    def test_large_pictures_are_reduced(self) -> None:
        content = pictures.data_uri(np.zeros((3, 400, 200), np.uint8)).split(",")[1]
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (32, 64)

    def test_views_are_those_of_the_training(self) -> None:
        images = np.random.default_rng(0).integers(0, 256, (2, 1, 12, 12), dtype=np.uint8)
        options = {"crop_scale": (0.3, 0.6), "flip": 0.5, "brightness": 0.4}
        rows = pictures.view_rows(images, np.array([5, 9]), [options, options], seed=3)
        expected = pixels(
            torch.from_numpy(images),
            View(**options),
            seed=3,
            epoch=0,
            index=torch.tensor([5, 9]),
            number=1,
        )
        shown = (expected.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        assert [views[1] for _, views in rows] == [pictures.data_uri(image) for image in shown]

    def test_neighbours_agree_with_sorting_everything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(0)
        bank, queries = (rng.normal(size=(n, 6)).astype(np.float32) for n in (53, 4))
        index = rng.permutation(1000)[:53]
        save_file({"h": bank, "index": index}, tmp_path / "train.safetensors")
        monkeypatch.setattr(pictures, "BANK_CHUNK", 10)
        places, rows = pictures.nearest(tmp_path / "train.safetensors", queries, 5)
        unit = bank / np.linalg.norm(bank, axis=1, keepdims=True)
        expected = np.argsort(-(queries @ unit.T), axis=1)[:, :5]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(rows, index[expected])

    def test_queries_are_the_first_of_spread_classes(self) -> None:
        labels = np.array([3, 3, 0, 1, 2, 0, 4])
        assert pictures.choose_queries(labels, 7, 3) == [2, 4, 6]
        assert pictures.choose_queries(None, 9, 3) == [0, 4, 8]

    def test_views_in_words(self) -> None:
        crop = {"crop_scale": (0.2, 1.0), "flip": 0.5}
        assert pictures.describe_views([crop, crop, {}]) == [
            "2 × crop 20–100 % of the area, flip p = 0.5",
            "the image as it is",
        ]
