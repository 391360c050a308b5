"""How alike two representations of the same images are, whatever their widths and directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def linear_cka(x: NDArray[np.floating], y: NDArray[np.floating]) -> float | None:
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of centred features, Frobenius norms (Kornblith et al., 2019, eq. 7).

    Args:
        x: features [n, d].
        y: features of the same n images [n, k].

    Returns:
        1 if one is the other rotated and scaled, 0 if they have nothing linear in common; None if
        either is constant or not finite.

    Raises:
        ValueError: other numbers of rows.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} rows: they must be of the same images")
    a, b = scaled(x), scaled(y)
    return None if a is None or b is None else overlap(a, b)


def scaled(x: NDArray[np.floating]) -> Matrix | None:
    """Features [n, d] centred, with ‖XᵀX‖ = 1 and at most n columns; None if there is no variation.

    More columns than rows are replaced by a triangular factor with the same XXᵀ, on which alone the
    similarity depends, so that no d × d matrix is needed.
    """
    if not np.isfinite(x).all():
        return None
    centred = x.astype(np.float64)
    square = float(np.square(centred).mean())
    centred -= centred.mean(0)
    if float(np.square(centred).mean()) <= 1e-20 * square:
        return None
    if centred.shape[1] > len(centred):
        centred = np.asarray(np.linalg.qr(centred.T, mode="r")).T
    # First to unit length, lest the fourth powers overflow.
    centred /= np.linalg.norm(centred)
    scale: float = np.sqrt(np.linalg.norm(centred.T @ centred))
    return np.asarray(centred / scale, dtype=np.float64)


def overlap(a: Matrix, b: Matrix) -> float:
    """The similarity of two matrices that are `scaled`, 0 … 1."""
    return min(1.0, float(np.square(b.T @ a).sum()))
