"""Several datasets: what is counted, what is averaged, and when nothing is tested."""

from __future__ import annotations

import numpy as np
import pytest

from replearn.across import critical_difference
from replearn.formats import Table
from replearn.report.across import (
    across,
    complete_blocks,
    diagram,
    pair_table,
    rank_table,
    sentence,
)
from replearn.standings import Standings
from tests.boards import board, entry

RANDOM = entry("random_init", [0.50, 0.51, 0.50], reference=True, supervision="–")
CEILING = entry("supervised", [0.90, 0.91, 0.90], reference=True, supervision="labels")
NUMBERS = {(m, "default"): i for i, m in enumerate(("simclr", "byol", "autoencoder"))}


def dataset(simclr: float, byol: float, autoencoder: float) -> Standings:
    means = {"simclr": simclr, "byol": byol, "autoencoder": autoencoder}
    rows = [entry(m, [mean - 0.001, mean, mean + 0.001]) for m, mean in means.items()]
    return board(*rows, RANDOM, CEILING)


def cells(found: Table, column: str) -> list[str]:
    return [row[column].text for row in found.groups[0].rows]


TWO = [dataset(0.80, 0.70, 0.60), dataset(0.70, 0.75, 0.60)]
SIX = [dataset(0.80 + i / 100, 0.70 + i / 100, 0.60) for i in range(6)]


class TestFewDatasets:
    def test_ranks_and_scores(self) -> None:
        blocks = complete_blocks(TWO)
        assert blocks is not None
        found = rank_table(blocks)
        assert cells(found, "method") == ["SimCLR", "BYOL", "Autoencoder"]
        assert cells(found, "rank") == ["1.50", "1.50", "3.00"]
        first, second = (0.8 - 0.503333) / 0.4, (0.7 - 0.503333) / 0.4
        assert cells(found, "d0")[0] == f"{first:.2f}"
        assert cells(found, "score")[0] == f"{(first + second) / 2:.2f}"

    def test_pairs_count_the_verdicts_of_the_datasets(self) -> None:
        blocks = complete_blocks(TWO)
        assert blocks is not None
        found = pair_table(blocks)
        assert cells(found, "claim")[0] == "SimCLR is better than BYOL"
        assert cells(found, "difference")[0] == "+2.5"
        counts = [cells(found, w)[0] for w in ("supported", "inconclusive", "contradicted")]
        assert counts == ["1", "0", "1"]

    def test_no_test_and_why(self) -> None:
        found = across(TWO, NUMBERS)
        assert found is not None
        assert found.verdict == "inconclusive"
        assert "2 are too few" in found.sentence
        assert found.diagram is None
        assert "Over datasets" not in found.pairs

    def test_nothing_to_say_of_one_dataset_or_of_none_with_labels(self) -> None:
        assert across(TWO[:1], NUMBERS) is None
        unlabelled = board(entry("simclr", []), entry("byol", []))
        assert across([TWO[0], unlabelled], NUMBERS) is None

    def test_a_method_that_one_dataset_lacks_is_left_out_and_named(self) -> None:
        less = board(*TWO[1].methods[:2], RANDOM, CEILING)
        blocks = complete_blocks([TWO[0], less])
        assert blocks is not None
        found = rank_table(blocks)
        assert cells(found, "method") == ["SimCLR", "BYOL"]
        assert "Autoencoder" in found.notes[1]

    def test_a_score_that_is_undefined_somewhere_has_no_mean(self) -> None:
        flat = board(*TWO[1].methods, RANDOM)
        blocks = complete_blocks([TWO[0], flat])
        assert blocks is not None
        assert cells(rank_table(blocks), "d1") == ["–"] * 3
        assert cells(rank_table(blocks), "score") == ["–"] * 3


class TestSixDatasets:
    def test_a_clear_order_is_tested_and_drawn(self) -> None:
        blocks = complete_blocks(SIX)
        assert blocks is not None
        assert blocks.p == pytest.approx(np.exp(-6))
        assert blocks.difference == pytest.approx(critical_difference(3, 6))
        assert "is supported" in sentence(blocks)
        assert cells(pair_table(blocks), "over") == ["inconclusive", "supported", "inconclusive"]
        found = across(SIX, NUMBERS)
        assert found is not None
        assert found.diagram is not None
        assert "SimCLR 1.00, BYOL 2.00 and Autoencoder 3.00" in found.diagram

    def test_the_diagram_joins_what_is_not_told_apart(self) -> None:
        blocks = complete_blocks(SIX)
        assert blocks is not None
        joined, apart = (diagram(blocks, cd, NUMBERS).count("<path") for cd in (1.5, 0.5))
        assert joined - apart == 2

    def test_without_a_difference_nothing_is_drawn(self) -> None:
        even = [dataset(*np.roll([0.8, 0.7, 0.6], i).tolist()) for i in range(6)]
        found = across(even, NUMBERS)
        assert found is not None
        assert (found.verdict, found.diagram) == ("inconclusive", None)
        assert "p = 1" in found.sentence

    def test_two_methods_are_too_few(self) -> None:
        blocks = complete_blocks([board(*each.methods[:2], RANDOM, CEILING) for each in SIX])
        assert blocks is not None
        assert blocks.p is None
        assert "needs 3 methods" in sentence(blocks)
