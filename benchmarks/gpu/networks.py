"""Networks on Keras' JAX backend: presets in three precisions, and their functions of weights as arguments."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import keras

import keras_coda
from keras_coda.explanations import Decomposition


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a network computes.

    Attributes:
        policy: Keras' dtype policy of the layers.
        products: JAX' precision of matrix products of float32 operands.
        size: bytes of an activation.
        dtype: of the operands of most products.
    """

    policy: str
    products: str
    size: int
    dtype: str = "float32"

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Trace functions with this precision of matrix products."""
        with jax.default_matmul_precision(self.products):
            yield


PRECISIONS = {
    "float32": Precision("float32", "highest", 4),
    "tf32": Precision("float32", "tensorfloat32", 4),
    "bfloat16": Precision("mixed_bfloat16", "default", 2, "bfloat16"),
}


def network(preset: str, precision: str = "float32", **overrides) -> keras_coda.ExplainableClassifier:
    """Return a network of a preset's architecture with untrained weights."""
    policy = PRECISIONS[precision].policy
    return built(
        lambda: keras_coda.ExplainableClassifier.from_preset(preset, load_weights=False, dtype=policy, **overrides)
    )


def built(build: Callable[[], keras.Model]) -> keras.Model:
    """Return what a function builds, with its variables on the first device.

    It is built on the CPU: that takes many small programs, which compile faster there.
    """
    with jax.default_device(jax.devices("cpu")[0]):
        model = build()
    for variable in model.variables:
        variable.assign(jax.device_put(variable.value, jax.devices()[0]))
    return model


def values(variables: Sequence[keras.Variable]) -> list[jax.Array]:
    """Return copies of the variables' values, which may be donated."""
    return [jnp.array(variable.value) for variable in variables]


def predictor(model: keras_coda.ExplainableClassifier) -> tuple[Callable, list[jax.Array]]:
    """Return ``f(weights, images)``, the logits, and the weights; images ``(batch, H, W, c)`` uint8."""
    trained, other = (values(each) for each in (model.trainable_variables, model.non_trainable_variables))

    def predict(weights, images):
        return model.stateless_call(*weights, images.astype("float32"), training=False)[0]

    return predict, [trained, other]


def explainer(model: keras_coda.ExplainableClassifier, top_k: int) -> tuple[Callable, list[jax.Array]]:
    """Return ``f(weights, images)``, a dict of logits, classes and maps of ``top_k`` classes, and the weights."""
    decomposition = Decomposition.of(model)
    variables = decomposition.variables

    def explain(weights, images):
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            return decomposition.explain(images.astype("float32"), top_k=top_k)

    return explain, values(variables)


def residual(explained: dict, bias: float) -> float:
    """Return the largest ``|Σ contributions + bias - logit|``, relative to the largest ``|logit - bias|``."""
    logits = jnp.take_along_axis(explained["logits"], explained["classes"], axis=1) - bias
    return float(jnp.abs(explained["contributions"].sum((2, 3)) - logits).max() / jnp.abs(logits).max())
