"""Methods that are measured only as long as there is time: see ``experiments.compare``."""

import time

MARGIN = 1.3  # a measurement may take longer than expected


class OutOfTimeError(Exception):
    """The next measurement would not end in time."""


def passes(method, size: tuple[int, int], targets: int) -> int:
    """Return how many predictions of an image cost as much as the method's maps of ``targets`` classes of it.

    Args:
        method: one of :func:`methods`.
        size: ``(height, width)`` of the image.
        targets: number of classes. A gradient costs as much as a prediction.
    """
    if hasattr(method, "patch_size"):
        step = method.strides or (method.patch_size + 1) // 2
        return 1 + (-(-size[0] // step)) * (-(-size[1] // step))
    repeated = [getattr(method, name) for name in ("masks", "steps", "samples") if hasattr(method, name)]
    return repeated[0] if hasattr(method, "masks") else (repeated or [1])[0] * (1 + targets)


class Budget:
    """The time that is left, and the speed that was reached.

    Args:
        end: ``time.monotonic()`` at which the command should end.
    """

    def __init__(self, end: float):
        self._end, self._speed = end, 0.0

    def check(self, work: float) -> None:
        """Raise :class:`OutOfTimeError` if work, in predicted pixels, would end too late."""
        expected = MARGIN * work / self._speed if self._speed else 0.0
        if time.monotonic() + expected > self._end:
            raise OutOfTimeError(f"{expected:.0f} s are expected, {self._end - time.monotonic():.0f} s are left")

    def spent(self, work: float, seconds: float) -> None:
        """Remember the highest speed; first calls compile."""
        self._speed = max(self._speed, work / seconds)


class Timed:
    """A method that is called only if its measurement is expected to end in time.

    Args:
        method: the method.
        budget: the :class:`Budget` of all methods.
        units: ``(n_grids, n_images)``.
        points: predictions of each image by the removal metric.
        save: called before a measurement begins.
    """

    def __init__(self, method, budget, units, points, save):
        self.__name__ = method.__name__
        self._method, self._budget, self._points, self._save = method, budget, points, save
        self._left = dict(zip((True, False), units, strict=True))  # of grids and of images
        self._begun: set[bool] = set()

    def __call__(self, model, images, classes):
        """Return the maps ``(B, H, W)``."""
        return self.of_classes(model, images, classes[:, None])[:, 0]

    def of_classes(self, model, images, classes):
        """Return the maps ``(B, K, H, W)``."""
        of_grids = classes.shape[1] > 1
        _, height, width, _ = images.shape
        cost = passes(self._method, (height, width), classes.shape[1]) * height * width
        if of_grids not in self._begun:
            self._save()
            print(f"{self.__name__}: {'localization' if of_grids else 'pixel removal'}", flush=True)
            self._begun.add(of_grids)
        self._budget.check(self._left[of_grids] * (cost + (0 if of_grids else self._points * height * width)))
        start = time.monotonic()
        maps = self._method.of_classes(model, images, classes)
        self._budget.spent(cost * len(images), time.monotonic() - start)
        self._left[of_grids] = max(1, self._left[of_grids] - len(images))
        return maps
