"""Scikit-learn's scanned digits, the embedded data set."""

import numpy as np


def all_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all scanned digits, ``(1797, 8, 8, 1)`` uint8, and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images[..., None] * (255 / 16)).astype("uint8"), digits.target  # stored as 0..16
