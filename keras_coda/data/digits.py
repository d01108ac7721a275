"""Scikit-learn's scanned digits, the embedded data set."""

import numpy as np


def all_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all scanned digits, ``(1797, 8, 8, 1)`` uint8, and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images[..., None] * (255 / 16)).astype("uint8"), digits.target  # stored as 0..16


def load_digits(validation_split: float, seed: int) -> tuple:
    """Prepare the scanned digits, split by class (stratified), see `keras_coda.data.load`.

    Returns:
        `(train, validation), class_names, image_shape, (num_train, num_validation)`. Each part is a pair of arrays,
        images and labels.
    """
    from sklearn.model_selection import train_test_split

    images, labels = all_digits()
    x, x_val, y, y_val = train_test_split(
        images, labels, test_size=validation_split, stratify=labels, random_state=seed
    )
    return ((x, y), (x_val, y_val)), tuple("0123456789"), images.shape[1:], (len(x), len(x_val))
