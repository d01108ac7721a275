"""Explanations through compiled functions, of which a bounded number is kept, with a bounded amount of memory."""

import contextlib
import dataclasses
import functools
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_coda.explanations import workload
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.tiled import TiledExplainer
from keras_coda.explanations.workload import Workload
from keras_coda.utils.checks import to_numpy
from keras_coda.utils.progress import Progress

_PIXELS = 2**18  # of the images of a batch, where nothing is known of the network
_FUNCTIONS = 32  # compiled functions, and compiled sizes, that a model keeps


def default_batch_size(height: int, width: int) -> int:
    """Return how many images of a size to process at a time: up to 32, fewer if they are larger than 90x90."""
    return max(1, min(workload.BATCH, _PIXELS // (height * width)))


class CompiledExplainer:
    """The compiled explanation functions of one model; they are kept, so that no function is traced twice.

    With TensorFlow one trace serves images of all sizes. XLA and JAX compile for each size, and a model keeps 32 of
    these functions. With JAX a new one takes the place of the one that was not used for longest. What TensorFlow
    compiled with XLA is never freed, so images of further sizes are explained without XLA.

    Attributes:
        decomposition: the :class:`~keras_coda.explanations.decomposition.Decomposition` of the model.
        traces: how often a function was traced.
    """

    def __init__(self, model):
        self.decomposition = Decomposition.of(model)
        self.traces = 0
        self._functions: OrderedDict[tuple, CompiledFunction] = OrderedDict()
        self._workload = functools.lru_cache(_FUNCTIONS)(functools.partial(Workload, self.decomposition))
        self._tiled = TiledExplainer(self.decomposition, self.run)

    def __call__(
        self, images, classes, top_k, *, depth, linear_map, jit_compile, batch_size=None, verbose="auto"
    ) -> dict[str, np.ndarray]:
        """Explain checked NumPy arrays in chunks; images that are too large for that, in tiles.

        Args:
            images: ``(B, H, W, c)`` float32.
            classes: None, or int32 ``(B, K)``.
            top_k: int, or None where classes are given.
            depth: see :meth:`Decomposition.explain`, like ``linear_map``.
            linear_map: bool.
            jit_compile: bool, whether to use XLA.
            batch_size: images at a time; None: as many, up to 32, as 1 GiB suffices for.
            verbose: True for a progress bar, False for none, ``"auto"`` for one if it takes longer than two seconds.

        Returns:
            The outputs of :meth:`Decomposition.explain` for all images, as NumPy arrays.

        Raises:
            NotEnoughMemoryError: a ``ValueError``, if less memory is free than the explanation needs.
            ValueError: for images that are too small for a layer.
        """
        work: Workload = self._workload(images.shape[1:])
        options = {"depth": depth, "linear_map": linear_map, "jit_compile": jit_compile}
        targets = classes.shape[1] if top_k is None else top_k
        if work.needs_tiles(targets):
            size, explain = 1, functools.partial(self._tiled.explain, work, **options)
            floats = self._tiled.floats(work, targets)
        else:
            size, group = work.plan(len(images), targets, batch_size)
            explain, floats = functools.partial(self._explain_groups, group, **options), size * work.floats(group)
        _, *map_size, channels = work.shapes[depth]
        results = len(images) * targets * math.prod(map_size) * (1 + linear_map * channels)
        work.check_memory(floats + results, len(images), targets)
        parts = []
        with Progress(len(images), "image", show=verbose) as progress:
            for start in range(0, len(images), size):
                chunk = images[start : start + size]
                count = len(chunk)
                # The last chunk may be smaller. XLA would compile again for it.
                missing = size - count if jit_compile else 0
                if missing:
                    chunk = np.concatenate([chunk, np.zeros_like(chunk[:1]).repeat(missing, axis=0)])
                wanted = None
                if classes is not None:
                    wanted = classes[start : start + size]
                    wanted = np.concatenate([wanted, wanted[:1].repeat(missing, axis=0)])
                part = explain(chunk, wanted, top_k)
                parts.append({name: value[:count] for name, value in part.items()})
                progress.add(count)
        if len(parts) == 1:  # without a copy of what may be large
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _explain_groups(self, group, images, classes, top_k, **options):
        """Explain one chunk, ``group`` classes at a time."""
        if top_k is not None and top_k > group:
            logits = self._explain(images, None, 1, **options)["logits"]
            classes = np.argsort(-logits, axis=1, kind="stable")[:, :top_k].astype("int32")
        if classes is None:
            return self._explain(images, None, top_k, **options)
        groups = [classes[:, start : start + group] for start in range(0, classes.shape[1], group)]
        parts = [self._explain(images, part, None, **options) for part in groups]
        return {
            name: value if name == "logits" else np.concatenate([part[name] for part in parts], axis=1)
            for name, value in parts[0].items()
        }

    def _explain(self, images, classes, top_k, *, jit_compile, **options):
        arguments, fixed = [images], [(None, *self.decomposition.input_shape)]
        if classes is not None:
            arguments, fixed = [images, classes], [*fixed, (None, classes.shape[1])]
        return self.run(self.decomposition.explain, arguments, fixed, jit_compile, top_k=top_k, **options)

    # === Compiled functions ===

    def run(
        self, function: Callable, arguments: Sequence[np.ndarray], fixed: Sequence, jit_compile: bool, **options
    ) -> dict[str, np.ndarray]:
        """Call a function of tensors with NumPy arrays, compiled.

        Args:
            function: takes tensors and the options, and returns a dict of tensors.
            arguments: float32 or int32.
            fixed: the shape of each argument, with None for the sizes that differ from call to call.
            jit_compile: whether to use XLA.
            **options: hashable.

        Returns:
            The function's outputs as NumPy arrays.
        """
        backend = keras.backend.backend()
        shapes = tuple(tuple(argument.shape) for argument in arguments)
        uses_xla = jit_compile and backend == "tensorflow"
        sizes = shapes if uses_xla or backend == "jax" else tuple(map(tuple, fixed))
        key = (jit_compile, function.__qualname__, sizes, *sorted(options.items()))
        if key not in self._functions:
            kept = [other for other in self._functions if other[0] == jit_compile]
            if len(kept) >= _FUNCTIONS:
                if uses_xla:
                    return self.run(function, arguments, fixed, False, **options)
                self._functions.pop(kept[0]).release()

            def counted(*tensors):
                self.traces += 1  # counts traces, because Python runs only while tracing (but in each call on Torch)
                return function(*tensors, **options)

            dtypes = [argument.dtype.name for argument in arguments]
            self._functions[key] = compile_function(counted, sizes, dtypes, jit_compile, self.decomposition.variables)
        self._functions.move_to_end(key)
        outputs = self._functions[key].call(*arguments)
        return {name: to_numpy(value) for name, value in outputs.items()}


@dataclasses.dataclass(frozen=True)
class CompiledFunction:
    """A compiled function, and how to free what it holds outside of Python's memory."""

    call: Callable
    release: Callable[[], object] = lambda: None


def compile_function(
    run: Callable, sizes: Sequence, dtypes: Sequence[str], jit_compile: bool, variables: Sequence[keras.Variable]
) -> CompiledFunction:
    """Compile a function of tensors for the backend of Keras.

    Args:
        run: the function.
        sizes: the shape of each argument; with TensorFlow and without XLA, None for lengths that differ between calls.
        dtypes: of the arguments.
        jit_compile: whether to use XLA; JAX always does.
        variables: all that ``run`` uses. With JAX their values become arguments, so that they may change.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        return _compile_jax(run, variables)
    if backend == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec(size, dtype) for size, dtype in zip(sizes, dtypes, strict=True)]
        return CompiledFunction(tf.function(run, input_signature=signature, jit_compile=jit_compile, autograph=False))
    return CompiledFunction(_without_gradients(run))


def _compile_jax(run, variables):
    import jax

    @jax.jit
    def stateless(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return run(*arguments)

    def call(*arguments):
        return stateless([_own(variable.value) for variable in variables], *arguments)

    return CompiledFunction(call, stateless.clear_cache)


def _own(value):
    """Return a weight as this process has it: several that train together each explain their own images."""
    return value if value.is_fully_addressable else value.addressable_data(0)


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
