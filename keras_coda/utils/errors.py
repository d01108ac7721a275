"""Errors and warnings with their own types, so that code can react to them."""


class InvalidLabelsError(ValueError):
    """Labels are no classes of the model: out of range, with a fraction, or of another shape or dtype."""


class NonFiniteNetworkError(ValueError):
    """Logits or maps of a network are NaN or infinite, because of its weights or of float32 overflow."""


class NotEnoughImagesError(ValueError):
    """Too few images are classified correctly and confidently to make one grid of the pointing game."""


class TrainingDivergedError(RuntimeError):
    """The loss of a training is NaN or infinite."""


class UnreadableFileError(ValueError):
    """A file of a network, of an explanation or of figures is damaged, or was not written by this package."""


class UnreadableImageError(UnreadableFileError):
    """An image file is missing, damaged, too large or of another format; the message names it and the reason."""


class NotEnoughMemoryError(ValueError):
    """An explanation would need more memory than there is; the message says how much, and which image size fits."""


class ChangedAuditError(ValueError):
    """An audit is not as it was written, or not as the network and the images say; the message lists what differs."""


class FewerGridsWarning(UserWarning):
    """There are enough images for some of the requested grids only; the result is that of fewer grids."""


class ImagesLeftOutWarning(UserWarning):
    """Images of a folder are left out: hidden ones, those of other formats, those that belong to no class."""


class ImagesReducedWarning(UserWarning):
    """Images are larger than was asked for, and are explained at a smaller size."""


class WeightsDoNotFitError(ValueError):
    """No layer of a network has the shape of the weights that it should be given."""


class PixelRangeWarning(UserWarning):
    """Pixels do not look like values in [0, 255]."""


class NewLayersWarning(UserWarning):
    """Some layers of a network have no fitting weights in the preset it was made from: they are new, and random."""
