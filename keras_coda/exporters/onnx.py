"""ONNX files that predict and explain, written by tf2onnx: one graph each, with a batch of any length."""

import numpy as np

from keras_coda.exporters import schema
from keras_coda.exporters.nan_guard import OUTPUTS, PortableNetwork
from keras_coda.exporters.schema import EXPLAIN, EXPLAIN_CLASSES
from keras_coda.utils.checks import require

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

    Raises:
        ValueError: for a network with an operation that ONNX does not have.
    """
    import onnx
    import tensorflow as tf

    explain, specs = network.serving()[EXPLAIN_CLASSES if classes else EXPLAIN]
    given = {spec.name for spec in specs}  # ONNX does not allow an output with the name of an input
    function = tf.function(
        lambda *inputs: {name: value for name, value in explain(*inputs).items() if name not in given},
        input_signature=specs,
        autograph=False,
    )
    model = _converted(function.get_concrete_function())
    unknown = {node.op_type: node.name for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    fix = "Take a trunk without it, or export a SavedModel or LiteRT file"
    require(not unknown, "Every operation of the network must exist in ONNX", fix, operations=unknown)
    outputs = sorted(model.graph.output, key=lambda value: OUTPUTS.index(value.name))
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    tensors, names = schema.tensors(), network.facts()  # which name the layer that maps refer to, as outputs do
    for value in (*model.graph.input, *model.graph.output):
        _name_axes(value, schema.axes_of(value.name, tensors[value.name], names))
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


def _converted(function):
    """Convert a function of TensorFlow.

    ``tf2onnx.convert.from_function`` takes constants that a function captures, such as the means that
    ``keras.applications`` subtract from pixels, for inputs of the file, and forgets their values.
    """
    import tf2onnx

    count = len(function.inputs) - len(function.captured_inputs)
    names = {tensor.name: tensor.name.removesuffix(":0") for tensor in function.inputs[:count]}
    names |= {tensor.name: name for name, tensor in function.structured_outputs.items()}
    inputs, outputs = list(names)[:count], list(names)[count:]
    graph = tf2onnx.tf_loader.from_function(function, inputs, outputs)  # in which all constants have their values
    arguments = {"input_names": inputs, "output_names": outputs, "tensors_to_rename": names, "opset": OPSET}
    return tf2onnx.convert.from_graph_def(graph, **arguments)[0]


def _name_axes(value, axes) -> None:
    """Name the axes of free size by their meaning; tf2onnx numbers them ("unk__7")."""
    for letter, size in zip(axes, value.type.tensor_type.shape.dim, strict=False):
        if not size.HasField("dim_value"):
            size.dim_param = schema.AXES[letter]
