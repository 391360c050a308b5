"""The headline says what the statistics say, also when it is bad news."""

from __future__ import annotations

from replearn.report.findings import Finding, findings
from replearn.standings import Entry
from tests.boards import board, entry

RANDOM = entry("random_init", [0.50, 0.51, 0.50], reference=True, supervision="–")
CEILING = entry("supervised", [0.92, 0.93, 0.92], reference=True, supervision="labels")


def pixels(accuracy: float) -> Entry:
    return entry("raw_pixels", [accuracy], reference=True, deterministic=True, supervision="–")


def said(*entries: Entry) -> list[Finding]:
    return findings(board(*entries), 10)


def about(found: list[Finding], words: str) -> Finding:
    (one,) = [finding for finding in found if words in finding.text]
    return one


class TestHeadline:
    def test_a_clear_winner(self) -> None:
        found = said(
            entry("simclr", [0.80, 0.81, 0.80]),
            entry("byol", [0.60, 0.61, 0.61]),
            pixels(0.7),
            RANDOM,
        )
        assert found[0].text.startswith("The best self-supervised method is SimCLR")
        assert "80.3 %" in found[0].text
        assert found[0].tone == "supported"
        assert "ahead of BYOL by 19.7 points" in found[0].detail

    def test_a_tie_is_called_one(self) -> None:
        found = said(entry("simclr", [0.80, 0.81, 0.80]), entry("byol", [0.80, 0.80, 0.81]), RANDOM)
        assert "that it is better than BYOL is inconclusive" in found[0].text
        assert found[0].tone == "inconclusive"

    def test_raw_pixels_may_win(self) -> None:
        found = said(entry("simclr", [0.80, 0.81, 0.80]), pixels(0.85), RANDOM)
        finding = about(found, "raw pixels")
        assert finding.tone == "contradicted"
        assert "worse than raw pixels by 4.7 points" in finding.text

    def test_raw_pixels_are_beaten(self) -> None:
        found = said(entry("simclr", [0.80, 0.81, 0.80]), pixels(0.7), RANDOM)
        finding = about(found, "raw pixels")
        assert finding.text == "SimCLR beats raw pixels by 10.3 points."
        assert finding.tone == "supported"

    def test_share_of_the_way_to_the_ceiling(self) -> None:
        found = said(entry("simclr", [0.71, 0.72, 0.71]), RANDOM, CEILING)
        assert "covers 50 %" in about(found, "Of the way").text


class TestFloors:
    def test_all_above_the_random_encoder(self) -> None:
        found = said(entry("simclr", [0.8, 0.81, 0.8]), entry("supcon", [0.9, 0.9, 0.91]), RANDOM)
        assert about(found, "random encoder").text.startswith("All 2 trained methods beat")

    def test_a_failure_is_named(self) -> None:
        found = said(
            entry("simclr", [0.8, 0.81, 0.8]), entry("autoencoder", [0.5, 0.51, 0.49]), RANDOM
        )
        finding = about(found, "Inconclusive against")
        assert finding.tone == "inconclusive"
        assert "Autoencoder (50.0 %)" in finding.text
        assert "SimCLR" not in finding.text

    def test_a_method_may_be_worse_than_no_training(self) -> None:
        found = said(entry("simclr", [0.8, 0.81, 0.8]), entry("byol", [0.3, 0.31, 0.29]), RANDOM)
        finding = about(found, "is better than BYOL (30.0 %)")
        assert finding.tone == "contradicted"


class TestSupervised:
    def test_ties_are_named(self) -> None:
        helped = [
            entry(name, [0.9 + i / 1e3, 0.91, 0.9], supervision="labels")
            for i, name in enumerate(("supcon", "triplet"))
        ]
        finding = about(said(*helped, RANDOM), "With supervision")
        assert finding.detail == "inconclusive against SupCon"


class TestWarnings:
    def test_collapse(self) -> None:
        bad = entry("byol", [0.3, 0.31, 0.3], verdicts=["healthy", "complete", "complete"])
        finding = about(said(bad, RANDOM), "collapse")
        assert finding.tone == "attention"
        assert "BYOL (complete, 2 of 3 runs)" in finding.text

    def test_a_canary_above_chance(self) -> None:
        leaky = entry("simclr", [0.8, 0.81, 0.8])
        leaky.values[("linear", "shuffled_accuracy")] = {0: 0.35}  # type: ignore[index]
        assert about(said(leaky, RANDOM), "shuffled labels").tone == "attention"

    def test_unfinished_runs(self) -> None:
        late = entry("simclr", [0.8, 0.81, 0.8])
        late.runs[1]["status"] = "missing"  # type: ignore[index]
        assert about(said(late, RANDOM), "not finished").text.startswith("1 of 6 runs")

    def test_without_labels_nothing_is_ranked(self) -> None:
        found = said(entry("simclr", []))
        assert "no labels" in found[0].text
        assert not any("best" in finding.text.lower() and "%" in finding.text for finding in found)
