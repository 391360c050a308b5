"""The tables of ranks and of pairs say what the statistics say."""

from __future__ import annotations

import numpy as np
import pytest

from replearn.formats import Table, to_html
from replearn.report.certainty import every_pair, rank_chances
from replearn.standings import LINEAR, Entry, Standings
from tests.boards import board, entry

RNG = np.random.default_rng(0)
RANDOM = entry("random_init", [0.50, 0.51, 0.50], reference=True, supervision="–")


def many(method: str, mean: float) -> Entry:
    return entry(method, (mean + RNG.normal(0, 0.005, 6)).tolist())


def column(table: Table | None, name: str) -> list[str]:
    assert table is not None
    (group,) = table.groups
    return [row[name].text for row in group.rows]


class TestRanks:
    def test_methods_only_the_best_first_and_every_row_is_whole(self) -> None:
        found = rank_chances(
            board(entry("byol", [0.70, 0.71, 0.70]), entry("simclr", [0.80, 0.81, 0.80]), RANDOM)
        )
        assert found is not None
        assert column(found, "method") == ["SimCLR", "BYOL"]
        for row in found.groups[0].rows:
            shares = [row[f"p{rank}"].value for rank in (1, 2)]
            assert sum(float(str(share)) for share in shares) == pytest.approx(1)
        assert "3 common seed" in found.notes[0]

    def test_a_clear_order_is_sure_and_a_tie_is_not(self) -> None:
        close = board(
            entry("simclr", [0.80, 0.81, 0.80]),
            entry("byol", [0.80, 0.80, 0.81]),
            entry("autoencoder", [0.60, 0.61, 0.60]),
        )
        found = rank_chances(close)
        assert found is not None
        assert column(found, "p3") == ["0", "0", "100"]
        assert column(found, "rank") == ["1", "1", "3"]
        first = found.groups[0].rows[0]["p1"]
        assert not first.bold
        assert 0.3 < float(str(first.value)) < 0.7

    def test_one_seed_without_predictions_knows_nothing(self) -> None:
        assert rank_chances(board(entry("simclr", [0.8]), entry("byol", [0.7]))) is None

    def test_one_seed_with_predictions_speaks_about_the_checkpoints(self) -> None:
        correct = {"simclr": RNG.random(300) < 0.82, "byol": RNG.random(300) < 0.78}
        rivals = [entry(method, [float(hits.mean())]) for method, hits in correct.items()]
        found = rank_chances(
            Standings("toy", rivals, lambda run: {"linear": correct[str(run["method"])]})
        )
        assert found is not None
        assert "these checkpoints (bootstrap of 300 test images)" in found.notes[0]


class TestPairs:
    def test_every_pair_once_with_the_words_of_the_comparison(self) -> None:
        standings = board(
            entry("simclr", [0.80, 0.81, 0.80]),
            entry("byol", [0.80, 0.80, 0.81]),
            entry("autoencoder", [0.60, 0.61, 0.60]),
            RANDOM,
        )
        found = every_pair(standings)
        claims = dict(zip(column(found, "claim"), column(found, "verdict"), strict=True))
        assert claims == {
            "SimCLR is better than BYOL": "inconclusive",
            "SimCLR is better than Autoencoder": "supported",
            "BYOL is better than Autoencoder": "supported",
        }
        compared = standings.compare(standings.methods[0], standings.methods[2], LINEAR)
        assert compared is not None
        assert compared.interval is not None
        low, high = 100 * compared.interval.low, 100 * compared.interval.high
        assert column(found, "interval")[1] == f"{low:+.1f} to {high:+.1f}"
        assert found is not None
        assert "twenty pairs" in found.notes[1]
        assert "wins" not in to_html(found)

    def test_many_seeds_show_seeds_won_and_the_sign_flip(self) -> None:
        found = every_pair(board(many("simclr", 0.8), many("byol", 0.7)))
        assert column(found, "wins") == ["6 of 6 seeds"]
        assert column(found, "flips") == ["0.031"]
        assert found is not None
        assert any("Holm" in note for note in found.notes)
        assert not any("twenty" in note for note in found.notes)

    def test_one_run_each_decides_nothing(self) -> None:
        found = every_pair(board(entry("simclr", [0.8]), entry("byol", [0.7])))
        assert column(found, "verdict") == ["inconclusive"]
        assert column(found, "interval") == ["–"]

    def test_one_method_makes_no_pair(self) -> None:
        assert every_pair(board(entry("simclr", [0.8, 0.81]), RANDOM)) is None
