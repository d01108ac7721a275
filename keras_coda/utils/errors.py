"""Errors and warnings that other code recognizes by their type."""


class NotEnoughImagesError(ValueError):
    """The network classifies too few images correctly and confidently for a single grid of the pointing game."""


class TrainingDivergedError(RuntimeError):
    """The loss of a training is NaN or infinite."""


class FewerGridsWarning(UserWarning):
    """The images suffice for fewer grids than were asked for; the result is that of the fewer grids."""


class PixelRangeWarning(UserWarning):
    """Pixels do not look like values in [0, 255]."""
