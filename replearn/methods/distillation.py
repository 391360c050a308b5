"""Distillation: learn from the soft targets of a trained teacher (Hinton et al., 2015).

p_T = softmax(teacher's logits / T),   q_T = softmax(student's logits / T)
L = α T² KL(p_T ‖ q_T) + (1 − α) H(labels, q_1)

T² keeps the gradient of the soft targets at the scale of the hard ones (section 2 of the paper).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replearn.encoders import EncoderShape
from replearn.methods.base import (
    Batch,
    Loss,
    Method,
    check_embeddings,
    check_temperature,
    full_precision,
)
from replearn.methods.options import DistillationOptions
from replearn.methods.supervised import Supervised


@full_precision
def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, weight: float
) -> Tensor:
    """α T² KL(p_T ‖ q_T) + (1 − α) cross-entropy, a mean over the batch.

    Args:
        student, teacher: logits [n, classes]; no gradient reaches the teacher's.
        labels: int64 [n].
        temperature: T.
        weight: α, from 0 (labels alone) to 1 (the teacher alone).

    Raises:
        ValueError: the shapes do not fit, the batch is empty, T ≤ 0 or α outside 0 to 1.
    """
    check_temperature("distillation_loss", temperature)
    check_embeddings("distillation_loss", student, teacher)
    if labels.shape != student.shape[:1]:
        raise ValueError(
            f"distillation_loss needs labels [{len(student)}], not {tuple(labels.shape)}"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"distillation_loss needs a weight from 0 to 1, not {weight}")
    soft = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher.detach() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = F.cross_entropy(student, labels)
    return weight * temperature**2 * soft + (1 - weight) * hard


class Distillation(Method):
    """A supervised student; the teacher sees the same view."""

    needs = frozenset({"labels"})
    teacher: Callable[[Tensor], Tensor] | None = None
    """The teacher's logits [n, classes] of images."""

    def __init__(
        self, encoder: nn.Module, shape: EncoderShape, options: DistillationOptions
    ) -> None:
        super().__init__(encoder, shape)
        self.classifier = nn.Linear(shape.width, shape.classes)
        self.options = options

    def learn_from(self, teacher: Method) -> None:
        assert isinstance(teacher, Supervised)
        self.teacher = teacher.logits

    def loss(self, batch: Batch) -> Loss:
        if self.teacher is None:
            raise ValueError("distillation needs a teacher before it can train")
        assert batch.labels is not None
        (view,) = batch.views
        student = self.classifier(self.encoder(view))
        with torch.no_grad():
            teacher = self.teacher(view)
        total = distillation_loss(
            student, teacher, batch.labels, self.options.temperature, self.options.weight
        )
        agreement = (student.argmax(1) == teacher.argmax(1)).float().mean()
        accuracy = (student.argmax(1) == batch.labels).float().mean()
        return Loss(
            total, {"train_accuracy": accuracy.detach(), "teacher_agreement": agreement.detach()}
        )
