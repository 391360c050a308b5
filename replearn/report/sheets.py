"""The tables below the comparison: collapse diagnostics by run, and images with texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from replearn.formats import NOTHING, Cell, Column, Group, Table, percent, to_html
from replearn.report.study import StudyFiles
from replearn.standings import Entry, Metric, Standings
from replearn.tables import SEVERITY

DIAGNOSTICS = (
    (
        "h_feature_std",
        "Feature std",
        "√d · mean std of normalised features: isotropic 1, constant 0",
    ),
    ("h_rank_me", "RankMe", "Entropy-effective rank of uncentred singular values"),
    ("h_effective_rank", "Effective rank", "The same on centred variances"),
    ("h_participation_ratio", "Participation", "(Σλ)² / Σλ²"),
    ("h_stable_rank", "Stable rank", "Σλ / λ₁, centred"),
    ("h_d90", "d90", "Components for 90 % of the variance"),
    ("h_alpha_req", "α-ReQ", "Decay of the spectrum; about 1 is good"),
    (
        "h_alignment",
        "Alignment",
        "Squared distance of two views of one image; unrelated pairs about 2",
    ),
    ("h_uniformity", "Uniformity", "ln E exp(−2‖u − v‖²): 0 constant, −4 spread"),
    (
        "h_lidar",
        "LiDAR",
        "Effective rank of between-image scatter whitened by within-image scatter",
    ),
    ("h_lidar_null", "LiDAR null", "The same with views shuffled among images: what noise scores"),
    ("h_between_within", "tr S_b / tr S_w", "Scatter between images over scatter between views"),
    ("h_cluster_residual", "Residual of 20", "Share of variance that 20 cluster centres leave"),
    ("z_effective_rank", "Projector eff. rank", "Effective rank of the projector output"),
)
TEXT_METRICS = (
    ("prompt_accuracy", "Prompt classification %"),
    ("image_to_text_r1", "Image → text R@1 %"),
    ("image_to_text_r5", "R@5 %"),
    ("image_to_text_r10", "R@10 %"),
    ("text_to_image_r1", "Text → image R@1 %"),
    ("text_to_image_r5", "R@5 %"),
    ("text_to_image_r10", "R@10 %"),
)
BEYOND: tuple[tuple[Metric, str, str], ...] = (
    (("linear", "low_shot_1"), "1 shot", "Linear probe with 1 label per class, mean of 5 draws"),
    (("linear", "low_shot_10"), "10 shots", "Linear probe with 10 labels per class"),
    (("structure", "nmi"), "NMI", "k-means clusters against classes, mutual information"),
    (("structure", "ari"), "ARI", "The same by pairs of images, chance at 0"),
    (("structure", "map_at_r"), "MAP@R", "How many of an image's R nearest are of its class"),
    (("linear", "ece"), "Calibration error", "Confidence of the probe against its accuracy; low"),
    (("robustness", "corruption_accuracy"), "Corrupted", "Probe's accuracy on corrupted images"),
    (
        ("robustness", "relative_robustness"),
        "Kept",
        "That accuracy as a share of the same images' without corruption",
    ),
    (
        ("robustness", "ood_auroc_shuffled"),
        "Shuffled found",
        "AUROC of telling images with shuffled patches from test images; 50 is chance",
    ),
    (("robustness", "ood_auroc_noise"), "Noise found", "The same for images of pure noise"),
)


def diagnostics(study: StudyFiles, board: Standings) -> Table:
    columns = (
        Column("run", "Run", numeric=False),
        Column("verdict", "Verdict", numeric=False),
        *(Column(name, title, hint) for name, title, hint in DIAGNOSTICS),
        Column("rule", "The rule that decided", numeric=False),
    )
    rows = []
    for entry in board.entries:
        for run in entry.runs:
            metrics: Mapping[str, Any] = study.metrics(run, "collapse").get("metrics", {})
            kind = str(run["verdict"] or NOTHING)
            title = _run_title(entry, run)
            row = {
                "run": Cell(title, title),
                "verdict": Cell(kind, kind, badge=kind if kind in SEVERITY else "unknown"),
                "rule": Cell(str(run["rule"] or NOTHING), str(run["rule"] or "")),
            }
            for name, *_ in DIAGNOSTICS:
                value = metrics.get(name)
                row[name] = Cell(
                    NOTHING if value is None else f"{value:.4g}".replace("-", "−"), value
                )
            rows.append(row)
    return Table(
        "Collapse diagnostics of encoder features of test images, by run",
        columns,
        (Group("", tuple(rows)),),
    )


def unhealthy(board: Standings) -> list[tuple[str, str, str]]:
    """Run, verdict and rule of every run whose features are not healthy."""
    return [
        (_run_title(entry, run), str(run["verdict"]), str(run["rule"] or "no rule recorded"))
        for entry in board.entries
        for run in entry.runs
        if run["verdict"] not in (None, "healthy")
    ]


def _run_title(entry: Entry, run: Mapping[str, object]) -> str:
    return entry.label if entry.deterministic else f"{entry.label}, seed {run['seed']}"


def texts(board: Standings) -> Markup:
    notes = []
    measured = {
        name for entry in board.entries for family, name in entry.values if family == "text"
    }
    if "prompt_accuracy" in measured:
        notes.append("Prompt classification, not zero-shot: training captions named the classes.")
    if "image_to_text_r1" in measured:
        notes.append("Equal captions are one candidate, and any image they belong to is correct.")
    columns = [(("text", name), title, "") for name, title in TEXT_METRICS]
    return _means(board, "Images and texts in one space", columns, tuple(notes))


def beyond_accuracy(board: Standings) -> Markup:
    return _means(board, "Beyond accuracy, on test images, in %", BEYOND, ())


def _means(
    board: Standings,
    caption: str,
    metrics: Sequence[tuple[Metric, str, str]],
    notes: tuple[str, ...],
) -> Markup:
    """A table of means over seeds in percent, without what nobody has; empty if nobody has any."""
    shown = [column for column in metrics if any(e.values.get(column[0]) for e in board.entries)]
    entries = [e for e in board.entries if any(e.values.get(metric) for metric, *_ in shown)]
    if not shown:
        return Markup("")
    columns = (
        Column("method", "Method", numeric=False),
        *(Column("/".join(metric), title, hint) for metric, title, hint in shown),
    )
    rows = []
    for entry in entries:
        row = {"method": Cell(entry.label, entry.label)}
        for metric, *_ in shown:
            summary = board.summary(entry, metric)
            spread = f" ± {percent(summary.sd)}" if summary and summary.sd is not None else ""
            mean = summary.mean if summary else None
            row["/".join(metric)] = Cell(percent(mean) + spread, mean)
        rows.append(row)
    return Markup(to_html(Table(caption, columns, (Group("", tuple(rows)),), notes)))
