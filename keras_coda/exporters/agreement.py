"""Whether another runtime computes what Keras does: converters are others' work, and the promise is exact."""

import numpy as np
from keras import ops

from keras_coda.exporters.signatures import Signatures
from keras_coda.utils.checks import to_numpy

TOLERANCE = 1e-4
_ANY_SIZE = 64  # height and width of the example, if the network takes any


def example(signatures: Signatures) -> dict[str, np.ndarray]:
    """Return two random ``images`` (2, H, W, c), float32, and ``classes`` (2, K), int32."""
    random = np.random.default_rng(0)
    shape = (2, *(side or _ANY_SIZE for side in signatures.image_size), signatures.decomposition.input_shape[2])
    classes = random.integers(0, signatures.decomposition.num_classes, (2, signatures.top_k), dtype="int32")
    return {"images": random.integers(0, 256, shape).astype("float32"), "classes": classes}


def check(signatures: Signatures, runtime: str, answer: dict[str, np.ndarray]) -> None:
    """Compare the answer of another runtime with Keras.

    Args:
        signatures: of the network.
        runtime: its name, for the error.
        answer: its inputs and outputs by name; without ``classes`` only predictions are compared.

    Raises:
        RuntimeError: if residuals, or differences of logits or maps, exceed ``TOLERANCE`` times the largest value (of
            logits: or one).
    """
    import tensorflow as tf

    with tf.device("CPU:0"):  # GPUs round more coarsely
        if "classes" in answer:  # those of the runtime: at near ties, rounding decides which come first
            expected = signatures.explain(answer["images"], ops.convert_to_tensor(answer["classes"]))
        else:
            expected = signatures.predict(answer["images"])
    expected = {name: to_numpy(value) for name, value in expected.items()}
    scale = {name: max(1e-6, _largest(expected[name])) for name in {"contributions", "linear_map"} & set(expected)}
    scale["logits"] = scale["residual"] = max(1.0, _largest(expected["logits"]))
    found = {name: answer[name] - expected[name] for name in set(scale) & set(answer) - {"residual"}}
    found |= {"residual": answer["residual"]} if "residual" in answer else {}
    differences = {name: _largest(value) / scale[name] for name, value in found.items()}
    if not all(difference <= TOLERANCE for difference in differences.values()):  # NaN is refused, too
        raise RuntimeError(
            f"The converted network must agree with Keras. Received: relative differences {differences} in {runtime}. "
            "Another version of the converter may do better; a SavedModel needs none."
        )


def _largest(values) -> float:
    return float(np.abs(values).max())
