"""ONNX files that predict and explain, written by tf2onnx: one graph each, with a batch of any length."""

import numpy as np

from keras_coda.exporters import schema
from keras_coda.exporters.nan_guard import OUTPUTS, PortableNetwork
from keras_coda.exporters.schema import EXPLAIN, EXPLAIN_CLASSES

OPSET = 18


def convert(network: PortableNetwork, *, classes: bool = False) -> bytes:
    """Convert a network.

    Args:
        network: to convert.
        classes: whether the file explains classes that the caller chooses, rather than the K most probable ones. Then
            ``classes`` (B, K) int32 is a second input instead of an output; ONNX has no optional inputs.

    Returns:
        The file: inputs ``images`` and maybe ``classes``, outputs of the signature ``contributions`` without names,
        and :meth:`PortableNetwork.facts` as ``metadata_props``.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    explain, specs = network.serving()[EXPLAIN_CLASSES if classes else EXPLAIN]
    given = {spec.name for spec in specs}  # ONNX does not allow an output with the name of an input
    function = tf.function(
        lambda *inputs: {name: value for name, value in explain(*inputs).items() if name not in given},
        input_signature=specs,
        autograph=False,
    )
    model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
    outputs = sorted(model.graph.output, key=lambda value: OUTPUTS.index(value.name))
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    for value in (*model.graph.input, *model.graph.output):
        _name_axes(value)
    onnx.helper.set_model_props(model, network.facts())
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def run(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Run a file in ONNX Runtime; return inputs and outputs by signature (there is one) and name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {each.name: inputs[each.name] for each in session.get_inputs()}
    return {EXPLAIN: {**given, **dict(zip(names, session.run(names, given), strict=True))}}


def _name_axes(value) -> None:
    """Name the axes of free size by their meaning; tf2onnx numbers them ("unk__7")."""
    axes = schema.tensors()[value.name].axes
    for letter, size in zip(axes, value.type.tensor_type.shape.dim, strict=False):
        if not size.HasField("dim_value"):
            size.dim_param = schema.AXES[letter]
