"""The factored evaluation of Dynamic Alignment Units: exact, and without ever building a unit's weights.

With ``z = [B x ; 1]`` and ``Ã_j = [A_j, b_j]``, unit j has the unscaled weight ``v_j = Ã_j z``. Per unit and
location two numbers are needed, and neither needs ``v_j``: the response ``v_jᵀ x = zᵀ(Ã_jᵀ x)`` and the squared norm
``‖v_j‖² = zᵀ(Ã_jᵀ Ã_j) z``.

Shapes: N locations (of all images), d entries of a patch, f units, R = rank + 1. Gradients are written by hand where
automatic differentiation would keep, or scatter, tensors as large as all the others together.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
from keras import ops

_has_own_gradients = contextvars.ContextVar("has_own_gradients", default=True)


@contextlib.contextmanager
def automatic_gradients() -> Iterator[None]:
    """Trace functions whose gradients are left to automatic differentiation: the same values, with more memory.

    For exports: a SavedModel stores a graph of its own for every gradient that is written by hand.
    """
    token = _has_own_gradients.set(False)
    try:
        yield
    finally:
        _has_own_gradients.reset(token)


def _with_gradient(function):
    """Use the gradient that ``function`` returns with its outputs; on Torch, where Keras accepts only one, autodiff."""
    if keras.backend.backend() == "torch" or not _has_own_gradients.get():
        return lambda *arguments: function(*arguments)[0]
    return ops.custom_gradient(function)


def contract(tensor, z):
    """``Σ_r tensor[n, j, r] z[n, r]``: (N, f). As batched products, twice as fast as multiplying and summing."""
    return ops.squeeze(ops.matmul(tensor, ops.expand_dims(z, -1)), -1)


def outer(units, z):
    """``units[n, j] z[n, r]``: (N, f) and (N, R) to (N, f·R)."""
    product = ops.expand_dims(units, -1) * ops.expand_dims(z, -2)
    return ops.reshape(product, (-1, units.shape[-1] * z.shape[-1]))


def responses(inputs, projection, kernel, extract, scatter):
    """Return ``z`` and the responses ``zᵀ(Ã_jᵀ x)`` at all locations.

    Args:
        inputs: float tensor, the layer's input.
        projection: ``B`` as (d, r), same dtype.
        kernel: all ``Ã`` as (d, f, R), same dtype.
        extract: linear function from inputs to patches (N, d).
        scatter: its transpose.

    Returns:
        ``(z (N, R), responses (N, f))``.
    """
    d, f, R = kernel.shape

    def evaluate(inputs, projection, kernel):
        x = extract(inputs)
        z = ops.matmul(x, projection)
        z = ops.concatenate([z, ops.ones_like(z[:, :1])], axis=-1)
        products = ops.reshape(ops.matmul(x, ops.reshape(kernel, (d, f * R))), (-1, f, R))  # Ã_jᵀ x

        def gradient(*upstream):
            z_bar, responses_bar = upstream[0] if isinstance(upstream[0], (tuple, list)) else upstream
            through_units = outer(responses_bar, z)  # (N, f·R)
            z_bar = z_bar + ops.squeeze(ops.matmul(ops.expand_dims(responses_bar, 1), products), 1)
            z_bar = z_bar[:, :-1]  # the last entry of z is constant
            x_bar = ops.matmul(through_units, ops.transpose(ops.reshape(kernel, (d, f * R))))
            x_bar = x_bar + ops.matmul(z_bar, ops.transpose(projection))
            x_T = ops.transpose(x)
            kernel_bar = ops.reshape(ops.matmul(x_T, through_units), (d, f, R))
            return scatter(x_bar), ops.matmul(x_T, z_bar), kernel_bar

        return (z, contract(products, z)), gradient

    return _with_gradient(evaluate)(inputs, projection, kernel)


def squared_norms(z, kernel):
    """``‖Ã_j z‖²`` for z (N, R) and kernel (d, f, R): (N, f), never negative, float32 or wider."""
    d, f, R = kernel.shape
    wide = keras.backend.result_type(z.dtype, "float32")
    kernel, wide_z = ops.cast(kernel, wide), ops.cast(z, wide)
    if d <= R:  # the Gram matrix would be larger than Ã, and singular: cancellation would make the norm inexact
        v = ops.matmul(wide_z, ops.reshape(ops.transpose(kernel, (2, 1, 0)), (R, f * d)))
        return ops.sum(ops.square(ops.reshape(v, (-1, f, d))), axis=-1)
    units = ops.transpose(kernel, (1, 0, 2))
    gram = ops.matmul(ops.transpose(units, (0, 2, 1)), units)  # Ã_jᵀ Ã_j: (f, R, R)
    gram = ops.reshape(ops.transpose(gram, (1, 0, 2)), (R, f * R))
    # The large product, in bfloat16 if z is (products accumulate in float32). float16 would overflow.
    narrow = z.dtype if keras.backend.standardize_dtype(z.dtype) == "bfloat16" else wide
    norms = ops.cast(_quadratic_forms(ops.cast(z, narrow), ops.cast(gram, narrow)), wide)
    # Size of the terms of zᵀ G z before they cancel. A norm far below it is rounding error, of either sign, which 1/n
    # would amplify.
    magnitudes = ops.matmul(ops.square(wide_z), ops.transpose(ops.sum(ops.square(kernel), axis=0)))
    return ops.maximum(norms, 2 * _rounding(narrow) * magnitudes)


def _quadratic_forms(z, gram):
    """``zᵀ G_j z`` for symmetric ``G_j`` side by side in gram (R, f·R). No ``G_j z`` is kept for the gradient."""
    R, fR = gram.shape

    def evaluate(z, gram):
        def gradient(upstream):
            through_units = outer(upstream, z)
            return 2 * ops.matmul(through_units, ops.transpose(gram)), ops.matmul(ops.transpose(z), through_units)

        return contract(ops.reshape(ops.matmul(z, gram), (-1, fR // R, R)), z), gradient

    return _with_gradient(evaluate)(z, gram)


def _rounding(dtype) -> float:
    """The distance of one to the next float."""
    return {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-8}[keras.backend.standardize_dtype(dtype)]
