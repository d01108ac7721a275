"""Exact explanations of images that are too large to be explained at once, tile by tile."""

import math
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.tiles import Span, tiles
from keras_coda.explanations.workload import Workload, layers_before_sum
from keras_coda.layers.dynamic_linear import linearize_chain, pullback_chain
from keras_coda.layers.head import GlobalAveragePooling2D


class TiledExplainer:
    """Explains one image: first it sums up the class maps of all tiles, then it pulls the classes back tile by tile.

    Args:
        decomposition: the parts of the model. The layers before the sum over locations must have windows.
        run: calls a function of tensors, compiled, with NumPy arrays, and returns its dict of NumPy arrays, see
            :meth:`~keras_coda.explanations.compiled.CompiledExplainer.run`.
    """

    def __init__(self, decomposition: Decomposition, run: Callable[..., dict[str, np.ndarray]]):
        self._decomposition, self._run = decomposition, run
        self._before = layers_before_sum(decomposition) or ()
        self._after = decomposition.chain[len(self._before) + 1 :]
        self._is_mean = isinstance(decomposition.chain[len(self._before)], GlobalAveragePooling2D)

    def floats(self, work: Workload, targets: int) -> int:
        """Return about how many floats there are at the same time: those of the encoded image, and of a tile."""
        _, group = work.tile(targets)
        largest = max(rows.size * columns.size for rows, columns in self._tiles(work, targets))
        return math.prod(work.shapes[0]) + work.floats(group) * largest // work.pixels

    def explain(self, work: Workload, image, classes, top_k, *, depth, linear_map, jit_compile) -> dict:
        """Explain one image.

        Args:
            work: for the size of the image.
            image: ``(1, H, W, c)`` float32.
            classes: None, or int32 ``(1, K)``.
            top_k: int, or None where classes are given.
            depth: see :meth:`Decomposition.explain`, like ``linear_map``.
            linear_map: bool.
            jit_compile: bool.

        Returns:
            The outputs of :meth:`Decomposition.explain`, as NumPy arrays.
        """
        targets = top_k or classes.shape[1]
        parts = self._tiles(work, targets)
        any_size = (None, *self._decomposition.input_shape)
        encoded = self._run(self._encode, [image], [any_size], jit_compile)["encoded"]
        fixed = [(None, None, None, encoded.shape[-1]), (None,), (None,)]

        def arguments(rows: Span, columns: Span):
            tile = encoded[:, rows.start : rows.stop, columns.start : columns.stop]
            return [tile, rows.mask(), columns.mask()]

        sums = [self._run(self._pool, arguments(*part), fixed, jit_compile)["sums"].astype("float64") for part in parts]
        share = 1 / math.prod(work.shapes[len(self._before)][1:3]) if self._is_mean else 1.0
        pooled = (np.sum(sums, axis=0) * share).astype("float32")
        logits = self._run(self._head, [pooled], [pooled.shape], jit_compile, top_k=1)["logits"]
        if classes is None:
            classes = np.argsort(-logits, axis=1, kind="stable")[:, :top_k].astype("int32")

        _, height, width, channels = work.shapes[depth]
        strides = self._strides(depth)
        maps = {"contributions": np.zeros((1, targets, height, width), "float32")}
        if linear_map:
            maps["linear_map"] = np.zeros((1, targets, height, width, channels), "float32")
        _, size = work.tile(targets)
        for start in range(0, targets, size):
            group = slice(start, start + size)
            chosen = [pooled, classes[:, group]]
            cotangents = self._run(self._head, chosen, [each.shape for each in chosen], jit_compile)["cotangents"]
            cotangents = (cotangents * share).astype("float32")  # of the class maps, everywhere
            for part in parts:
                every = [*arguments(*part), cotangents]
                options = {"depth": depth, "linear_map": linear_map}
                found = self._run(self._maps, every, [*fixed, cotangents.shape], jit_compile, **options)
                shape = found["contributions"].shape[2:]
                place = [
                    span.place(*of_axis) for span, of_axis in zip(part, zip(strides, shape, strict=True), strict=True)
                ]
                for name, values in found.items():
                    maps[name][:, group, *place] += values
        return {"logits": logits, "classes": classes, **maps}

    def _tiles(self, work, targets):
        _, height, width, _ = work.shapes[0]
        return tiles(height, width, work.windows, work.tile(targets)[0])

    def _strides(self, depth):
        windows = [window for layer in self._before[:depth] for window in layer.windows]
        return [math.prod(strides[axis] for _, strides in windows) for axis in (0, 1)]

    # === Functions of tensors, which are compiled ===

    def _encode(self, images):
        return {"encoded": self._decomposition.encode(images)}

    def _pool(self, tile, rows, columns):
        """Sum up those class maps of a tile that belong to it: ``sums (1, channels)``."""
        maps, _ = linearize_chain(self._before, tile)
        return {"sums": ops.sum(maps * _mask(rows, columns), axis=(1, 2))}

    def _head(self, pooled, classes=None, *, top_k=None):
        """Return ``logits (1, C)``, and the cotangents ``(1, K, channels)`` of the sums for the classes."""
        logits, frozen = linearize_chain(self._after, pooled)
        if classes is None:
            classes = ops.cast(ops.top_k(logits, top_k)[1], "int32")
        targets = ops.one_hot(classes, self._decomposition.num_classes, dtype="float32")
        return {"logits": logits, "cotangents": pullback_chain(self._after, frozen, targets)}

    def _maps(self, tile, rows, columns, cotangents, *, depth, linear_map):
        """Return what a tile adds to ``contributions``, and to ``linear_map`` if requested."""
        activations, _ = linearize_chain(self._before[:depth], tile)
        _, frozen = linearize_chain(self._before[depth:], activations)
        everywhere = ops.expand_dims(ops.expand_dims(cotangents, 2), 2) * _mask(rows, columns)
        weights = pullback_chain(self._before[depth:], frozen, everywhere)
        found = {"contributions": ops.sum(weights * ops.expand_dims(activations, 1), axis=-1)}
        return found | ({"linear_map": weights} if linear_map else {})


def _mask(rows, columns):
    """Return the product of two masks as ``(rows, columns, 1)``."""
    return ops.reshape(rows, (-1, 1, 1)) * ops.reshape(columns, (1, -1, 1))
