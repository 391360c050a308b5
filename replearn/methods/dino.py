"""DINO: match the sharper, centred output of an EMA teacher across crops (Caron et al., 2021).

P_s(x) = softmax(f_s(x) / τ_s),   P_t(x) = softmax((f_t(x) − c) / τ_t)
L = Σ_{v1 ≠ v2} H(P_t(v1), P_s(v2)),   the teacher sees only the global crops
c ← m_c c + (1 − m_c) mean f_t(x),     θ_t ← m θ_t + (1 − m) θ_s
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.distributed import mean_over_ranks
from replearn.ema import cosine_momentum, frozen_copy, update_ema
from replearn.encoders import EncoderShape
from replearn.heads import PrototypeHead
from replearn.methods.base import (
    Batch,
    Loss,
    Method,
    check_embeddings,
    check_temperature,
    full_precision,
)
from replearn.methods.options import DINOOptions

GLOBAL_VIEWS = 2
"""The first views of a batch are the global crops, all that the teacher sees."""


@full_precision
def dino_loss(
    student_logits: Sequence[Tensor],
    teacher_logits: Sequence[Tensor],
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Cross-entropy H(P_t, P_s), mean over samples and over pairs of different views.

    Args:
        student_logits: one [n, k] per view, global views first.
        teacher_logits: one [n, k] per global view; no gradient reaches them.
        center: [k] or [1, k], subtracted from the teacher's logits.
        student_temperature, teacher_temperature: τ_s and τ_t; the latter also as a tensor, unchecked.

    Raises:
        ValueError: shapes differ, no pair of different views exists, the batch is empty or a τ ≤ 0.
    """
    check_temperature("dino_loss", student_temperature)
    check_temperature("dino_loss", teacher_temperature)
    if not teacher_logits or len(student_logits) < 2:
        raise ValueError("dino_loss needs a teacher view and at least two student views")
    check_embeddings("dino_loss", *student_logits, *teacher_logits)
    targets = [
        F.softmax((t.detach() - center) / teacher_temperature, dim=1) for t in teacher_logits
    ]
    log_predictions = [F.log_softmax(s / student_temperature, dim=1) for s in student_logits]
    pairs = [
        -(target * log_prediction).sum(1).mean()
        for i, target in enumerate(targets)
        for j, log_prediction in enumerate(log_predictions)
        if i != j
    ]
    return torch.stack(pairs).mean()


class DINO(Method):
    """Student and teacher share an architecture; the teacher's encoder is evaluated, as in the paper."""

    center: Tensor
    tau_t: Tensor
    prototypes: nn.Module

    def __init__(self, encoder: nn.Module, shape: EncoderShape, options: DINOOptions) -> None:
        head = PrototypeHead(
            shape.width, options.hidden, options.bottleneck, options.prototypes, options.layers
        )
        teacher_encoder, teacher_head = frozen_copy(encoder), frozen_copy(head)
        super().__init__(teacher_encoder, shape)
        self.projector = teacher_head.bottleneck
        self.student = nn.Sequential(encoder, head)
        self.teacher = nn.Sequential(teacher_encoder, teacher_head)
        self.prototypes = head.prototypes
        self.options = options
        self.register_buffer("center", torch.zeros(options.prototypes))
        tau_t = torch.tensor(options.teacher_temperature_start)
        self.register_buffer("tau_t", tau_t, persistent=False)

    def before_step(self, progress: float) -> None:
        self.tau_t.fill_(self.teacher_temperature(progress))

    def loss(self, batch: Batch) -> Loss:
        return self.distil(self.apart(self.student, batch.views), batch)

    def distil(self, student_logits: Sequence[Tensor], batch: Batch) -> Loss:
        """The loss of the student's logits, one [n, k] for each view."""
        with torch.no_grad():
            teacher_logits = self.apart(self.teacher, batch.views[:GLOBAL_VIEWS])
            self._teacher_mean = mean_over_ranks(
                torch.cat(teacher_logits).to(self.center.dtype).mean(0)
            )
        tau_s, tau_t = self.options.student_temperature, self.tau_t
        total = dino_loss(student_logits, teacher_logits, self.center, tau_s, tau_t)
        signs = collapse_signs(student_logits[1], teacher_logits[0], self.center, tau_s, tau_t)
        return Loss(total, signs)

    def teacher_temperature(self, progress: float) -> float:
        """τ_t rises linearly over the warm-up, then stays (section 3.1 and appendix D of the paper)."""
        options = self.options
        warm_up = min(1.0, progress / max(options.teacher_warmup, 1e-9))
        start, end = options.teacher_temperature_start, options.teacher_temperature
        return start + warm_up * (end - start)

    def after_step(self, progress: float) -> None:
        options = self.options
        update_ema(self.teacher, self.student, cosine_momentum(options.momentum, progress))
        if options.centering:
            self.center.lerp_(self._teacher_mean, 1 - options.center_momentum)

    def frozen(self, progress: float) -> tuple[nn.Parameter, ...]:
        """The prototypes rest at the start, which steadies the training (appendix C of the paper)."""
        if progress >= self.options.freeze_last_layer:
            return ()
        return tuple(self.prototypes.parameters())


@torch.no_grad()
def collapse_signs(
    student: Tensor, teacher: Tensor, center: Tensor, tau_s: float, tau_t: float | Tensor
) -> dict[str, Tensor]:
    """Entropy of P_t and KL(P_t ‖ P_s) of one pair of views: they tell how DINO collapses (figure 7).

    KL → 0 with entropy → 0 is one prototype for everything; with entropy → ln k, all prototypes equally.
    """
    target = F.log_softmax((teacher.float() - center) / tau_t, dim=1)
    prediction = F.log_softmax(student.float() / tau_s, dim=1)
    entropy = -(target.exp() * target).sum(1).mean()
    divergence = (target.exp() * (target - prediction)).sum(1).mean()
    return {"dino_entropy": entropy, "dino_kl": divergence}
