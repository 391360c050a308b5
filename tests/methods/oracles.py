"""The lecture's formulas as plain loops over Python floats: slow, obvious, float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def dot(u: Vector, v: Vector) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def unit(u: Vector) -> list[float]:
    norm = math.sqrt(dot(u, u))
    return [a / norm for a in u]


def cosine(u: Vector, v: Vector) -> float:
    return dot(unit(u), unit(v))


def softmax(logits: Vector) -> list[float]:
    top = max(logits)
    weights = [math.exp(a - top) for a in logits]
    return [w / sum(weights) for w in weights]


def triplet(
    anchors: list[Vector], positives: list[Vector], negatives: list[Vector], m: float
) -> float:
    losses = [
        max(0.0, -cosine(a, p) + cosine(a, n) + m)
        for a, p, n in zip(anchors, positives, negatives, strict=True)
    ]
    return sum(losses) / len(losses)


def sup_con(z: list[Vector], labels: list[int], tau: float) -> float:
    losses = []
    for i in range(len(z)):
        others = [k for k in range(len(z)) if k != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if not positives:
            continue
        share = softmax([cosine(z[i], z[k]) / tau for k in others])
        losses.append(-sum(math.log(share[others.index(p)]) for p in positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


def nt_xent(a: list[Vector], b: list[Vector], tau: float) -> float:
    z, n = [*a, *b], len(a)
    losses = []
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        denominator = sum(math.exp(cosine(z[i], z[k]) / tau) for k in range(2 * n) if k != i)
        losses.append(-math.log(math.exp(cosine(z[i], z[j]) / tau) / denominator))
    return sum(losses) / len(losses)


def byol(predictions: list[Vector], targets: list[Vector]) -> float:
    losses = []
    for q, z in zip(predictions, targets, strict=True):
        difference = [a - b for a, b in zip(unit(q), unit(z), strict=True)]
        losses.append(dot(difference, difference))
    return sum(losses) / len(losses)


def dino(
    student: list[list[Vector]],
    teacher: list[list[Vector]],
    center: Vector,
    tau_s: float,
    tau_t: float,
) -> float:
    terms = []
    for i, view_t in enumerate(teacher):
        for j, view_s in enumerate(student):
            if i == j:
                continue
            for t, s in zip(view_t, view_s, strict=True):
                p_t = softmax([(x - c) / tau_t for x, c in zip(t, center, strict=True)])
                p_s = softmax([x / tau_s for x in s])
                terms.append(-sum(p * math.log(q) for p, q in zip(p_t, p_s, strict=True)))
    return sum(terms) / len(terms)


def clip(images: list[Vector], texts: list[Vector], scale: float) -> float:
    n = len(images)
    logits = [[scale * cosine(i, t) for t in texts] for i in images]
    to_text = [-math.log(softmax(logits[i])[i]) for i in range(n)]
    to_image = [-math.log(softmax([logits[k][j] for k in range(n)])[j]) for j in range(n)]
    return 0.5 * (sum(to_text) / n + sum(to_image) / n)


def reconstruction(x: list[Vector], x_hat: list[Vector]) -> float:
    squares = [
        (a - b) ** 2 for u, v in zip(x, x_hat, strict=True) for a, b in zip(u, v, strict=True)
    ]
    return sum(squares) / len(squares)


def distillation(
    students: list[Vector],
    teachers: list[Vector],
    labels: list[int],
    temperature: float,
    weight: float,
) -> float:
    losses = []
    for student, teacher, label in zip(students, teachers, labels, strict=True):
        p = softmax([v / temperature for v in teacher])
        q = softmax([z / temperature for z in student])
        soft = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        hard = -math.log(softmax(student)[label])
        losses.append(weight * temperature**2 * soft + (1 - weight) * hard)
    return sum(losses) / len(losses)
