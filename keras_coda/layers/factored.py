"""The factored evaluation of Dynamic Alignment Units: exact, and without ever building a unit's weights.

With ``z = [B x ; 1]`` and ``Ã_j = [A_j, b_j]``, unit j has the unscaled weight ``v_j = Ã_j z``. Per unit and
location two numbers are needed, and neither needs ``v_j``: the response ``v_jᵀ x = zᵀ(Ã_jᵀ x)`` and the squared norm
``‖v_j‖² = zᵀ(Ã_jᵀ Ã_j) z``.

Shapes: N locations (of all images), d entries of a patch, f units, R = rank + 1. Gradients are written by hand where
automatic differentiation would keep, or scatter, tensors as large as all the others together.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops


class Gram(NamedTuple):
    """What squared norms need of the weights alone: a third of a prediction of one image by a large network."""

    products: Any  # Ã_jᵀ Ã_j of all units side by side: (R, f·R)
    sizes: Any  # squared norms of the columns of Ã_j: (f, R)


_GramOf = Callable[[Any], Gram | None]
_stored_gram: contextvars.ContextVar[_GramOf | None] = contextvars.ContextVar("stored_gram", default=None)


@contextlib.contextmanager
def fixed_weights(stored_gram: _GramOf) -> Iterator[None]:
    """Trace functions of networks whose weights no longer change: the same values, for exports.

    Gram matrices are not computed at every call. Gradients are left to automatic differentiation, since a SavedModel
    stores a graph of its own for every gradient that is written by hand.

    Args:
        stored_gram: takes a layer, and returns the :func:`gram_matrices` of its weights in float32.
    """
    token = _stored_gram.set(stored_gram)
    try:
        yield
    finally:
        _stored_gram.reset(token)


def gram_of(layer, kernel) -> Gram | None:
    """Return the Gram matrices of a layer: those stored for it, see :func:`fixed_weights`, or computed."""
    stored_gram = _stored_gram.get()
    if stored_gram is None or keras.backend.standardize_dtype(kernel.dtype) != "float32":
        return gram_matrices(kernel)
    return stored_gram(layer)


def _with_gradient(function):
    """Use the gradient that ``function`` returns with its outputs; on Torch, where Keras accepts only one, autodiff."""
    if keras.backend.backend() == "torch" or _stored_gram.get() is not None:
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


def gram_matrices(kernel) -> Gram | None:
    """Return the Gram matrices of a kernel (d, f, R) in float32 or wider; None where norms are better without them."""
    d, f, R = kernel.shape
    if d <= R:  # they would be larger than Ã, and singular: cancellation would make the norm inexact
        return None
    kernel = ops.cast(kernel, keras.backend.result_type(kernel.dtype, "float32"))
    units = ops.transpose(kernel, (1, 0, 2))
    products = ops.matmul(ops.transpose(units, (0, 2, 1)), units)  # (f, R, R)
    return Gram(ops.reshape(ops.transpose(products, (1, 0, 2)), (R, f * R)), ops.sum(ops.square(kernel), axis=0))


def squared_norms(z, kernel, gram: Gram | None):
    """``‖Ã_j z‖²``, never negative, float32 or wider.

    Args:
        z: (N, R).
        kernel: all ``Ã`` as (d, f, R).
        gram: :func:`gram_matrices` of the kernel.

    Returns:
        (N, f).
    """
    d, f, R = kernel.shape
    wide = keras.backend.result_type(z.dtype, "float32")
    wide_z = ops.cast(z, wide)
    if gram is None:
        v = ops.matmul(wide_z, ops.reshape(ops.transpose(ops.cast(kernel, wide), (2, 1, 0)), (R, f * d)))
        return ops.sum(ops.square(ops.reshape(v, (-1, f, d))), axis=-1)
    # The large product, in bfloat16 if z is (products accumulate in float32). float16 would overflow.
    narrow = z.dtype if keras.backend.standardize_dtype(z.dtype) == "bfloat16" else wide
    norms = ops.cast(_quadratic_forms(ops.cast(z, narrow), ops.cast(gram.products, narrow)), wide)
    # Size of the terms of zᵀ G z before they cancel. A norm far below it is rounding error, of either sign, which 1/n
    # would amplify.
    magnitudes = ops.matmul(ops.square(wide_z), ops.transpose(gram.sizes))
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
