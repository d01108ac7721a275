"""Explanations through compiled functions that use a bounded amount of memory."""

import contextlib
import weakref
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_coda.explanations.decomposition import Decomposition
from keras_coda.utils.checks import to_numpy
from keras_coda.utils.progress import Progress

# Pixels explained at a time, over images and over images and classes: memory of the coda_s_cifar10 network stays below
# about 3 GB. One class at a time needs less per pixel and class than several do.
_PIXELS, _TARGETS, _BATCH = 2**18, 2**19, 32


def default_batch_size(height: int, width: int) -> int:
    """Return how many images of a size are explained at a time: up to 32, fewer if they are larger than 90x90."""
    return max(1, min(_BATCH, _PIXELS // (height * width)))


class CompiledExplainer:
    """The compiled explanation functions of one model; they are kept, so that no shape is traced twice.

    Attributes:
        decomposition: the :class:`~keras_coda.explanations.decomposition.Decomposition` of the model.
        traces: how often a function was traced.
    """

    def __init__(self, model):
        self.decomposition = Decomposition.of(model)
        self.traces = 0
        self._functions = {}

    def __call__(self, images, classes, top_k, *, batch_size=None, verbose="auto", **options) -> dict[str, np.ndarray]:
        """Explain checked NumPy arrays in chunks.

        Args:
            images: ``(B, H, W, c)`` float32.
            classes: None, or int32 ``(B, K)``.
            top_k: int, or None where classes are given.
            batch_size: images at a time; None: chosen from the image size, at most 32.
            verbose: True for a progress bar, False for none, ``"auto"`` for one if it takes longer than two seconds.
            **options: ``depth``, ``linear_map``, ``jit_compile``.

        Returns:
            The outputs of :meth:`Decomposition.explain` for all images, as NumPy arrays.
        """
        pixels = images.shape[1] * images.shape[2]
        size = batch_size or default_batch_size(*images.shape[1:3])
        num_targets = classes.shape[1] if top_k is None else top_k
        group = _TARGETS // (pixels * min(size, len(images)))
        group = min(num_targets, group if group >= 4 else 1)
        parts = []
        with Progress(len(images), "image", show=verbose) as progress:
            for start in range(0, len(images), size):
                chunk = images[start : start + size]
                count = len(chunk)
                # The last chunk may be smaller. XLA would compile again for it.
                missing = size - count if options["jit_compile"] and start > 0 else 0
                if missing:
                    chunk = np.concatenate([chunk, np.zeros_like(chunk[:1]).repeat(missing, axis=0)])
                wanted = None
                if classes is not None:
                    wanted = classes[start : start + size]
                    wanted = np.concatenate([wanted, wanted[:1].repeat(missing, axis=0)])
                part = self._explain_groups(chunk, wanted, top_k, group, options)
                parts.append({name: value[:count] for name, value in part.items()})
                progress.add(count)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _explain_groups(self, images, classes, top_k, group, options):
        """Explain one chunk, ``group`` classes at a time."""
        if top_k is not None and top_k > group:
            logits = self._run(images, None, 1, options)["logits"]
            classes = np.argsort(-logits, axis=1, kind="stable")[:, :top_k].astype("int32")
        if classes is None:
            return self._run(images, None, top_k, options)
        groups = [classes[:, start : start + group] for start in range(0, classes.shape[1], group)]
        parts = [self._run(images, part, None, options) for part in groups]
        return {
            name: value if name == "logits" else np.concatenate([part[name] for part in parts], axis=1)
            for name, value in parts[0].items()
        }

    def _run(self, images, classes, top_k, options):
        num_targets = None if classes is None else classes.shape[1]
        function = self._function(images.shape[1:], num_targets, top_k, **options)
        arguments = (images,) if classes is None else (images, classes)
        return {name: to_numpy(value) for name, value in function(*arguments).items()}

    def _function(self, image_shape, num_targets, top_k, depth, linear_map, jit_compile) -> Callable:
        """Return ``f(images, classes)`` for ``num_targets`` classes, or ``f(images)`` if that is None."""
        key = (image_shape, num_targets, top_k, depth, linear_map, jit_compile)
        if key not in self._functions:

            def run(*arguments):
                self.traces += 1  # counts traces, because Python runs only while tracing (but in each call on Torch)
                return self.decomposition.explain(*arguments, top_k=top_k, depth=depth, linear_map=linear_map)

            backend = keras.backend.backend()
            if backend == "tensorflow":
                self._functions[key] = _compile_tensorflow(run, image_shape, num_targets, jit_compile)
            elif backend == "jax":
                self._functions[key] = _compile_jax(run, self.decomposition.variables)
            else:
                self._functions[key] = _without_gradients(run)
        return self._functions[key]


def _compile_tensorflow(run, image_shape, num_targets, jit_compile):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *image_shape), tf.float32)]
    if num_targets is not None:
        signature.append(tf.TensorSpec((None, num_targets), tf.int32))
    return tf.function(run, input_signature=signature, jit_compile=jit_compile, autograph=False)


def _compile_jax(run, variables):
    import jax

    @jax.jit
    def stateless(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return run(*arguments)

    return lambda *arguments: stateless([variable.value for variable in variables], *arguments)


def _without_gradients(run):
    scope = contextlib.nullcontext
    if keras.backend.backend() == "torch":
        import torch

        scope = torch.no_grad

    def call(*arguments):
        with scope():
            return run(*(ops.convert_to_tensor(argument) for argument in arguments))

    return call


_explainers: weakref.WeakKeyDictionary[keras.Model, CompiledExplainer] = weakref.WeakKeyDictionary()


def compiled_explainer(model: keras.Model) -> CompiledExplainer:
    """Return the explainer of a model. It is made at the first call and lives as long as the model."""
    if model not in _explainers:
        _explainers[model] = CompiledExplainer(model)
    return _explainers[model]
