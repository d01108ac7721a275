"""What the server tells about its network: as TF Serving does, so that its clients work, and as KServe's V2 does."""

from keras_coda.exporters import schema
from keras_coda.server.network import SIGNATURES, Network
from keras_coda.version import __version__

_TF_SERVING = {"float32": "DT_FLOAT", "int32": "DT_INT32", "string": "DT_STRING"}
V2_TYPES = {"float32": "FP32", "int32": "INT32", "string": "BYTES"}
ANY = -1  # stands for a size that is not fixed, in both protocols


def describe(network: Network) -> dict:
    """Return who computes the answers: version of this package, content hash of the network, classes and limits."""
    prepared = network.preparation
    return {
        "keras_coda": __version__,
        "hash": network.digest,
        "class_names": list(network.class_names),
        "image_shape": list(network.decomposition.input_shape),
        "preparation": None if prepared is None else {"resize": prepared.resize, "crop": prepared.crop},
        "window": network.window and list(network.window),
        "thresholds": network.thresholds and list(network.thresholds),
        "top_k": network.top_k,
        "max_images": network.max_images,
        "max_side": network.max_side,
    }


def tf_serving_metadata(network: Network) -> dict:
    """Return ``GetModelMetadataResponse`` in its JSON form, and under ``network`` what :func:`describe` returns."""
    definitions = {name: _definition(network, name, each) for name, each in offered(network).items()}
    return {
        "model_spec": {"name": network.name, "signature_name": "", "version": str(network.version)},
        "metadata": {"signature_def": {"signature_def": definitions}},
        "network": describe(network),
    }


def tf_serving_status(network: Network) -> dict:
    """Return ``GetModelStatusResponse`` in its JSON form, and the two fields of KServe's V1 protocol."""
    status = {"error_code": "OK", "error_message": ""}
    versions = [{"version": str(network.version), "state": "AVAILABLE", "status": status}]
    return {"name": network.name, "ready": True, "model_version_status": versions}


def v2_metadata(network: Network) -> dict:
    """Return a model's metadata as the V2 protocol wants them, of the tensors of all signatures."""
    inputs: dict[str, dict] = {}
    outputs: dict[str, dict] = {}
    for name, signature in offered(network).items():
        for found, tensors in ((inputs, signature.inputs), (outputs, signature.outputs)):
            for each, tensor in tensors.items():
                shape = _shape(network, name, each, tensor)
                shape = [ANY if axis == "K" else size for axis, size in zip(tensor.axes, shape, strict=True)]
                found[each] = {"name": each, "datatype": V2_TYPES[tensor.dtype], "shape": shape}
    names = {"name": network.name, "versions": [str(network.version)], "platform": "keras_coda"}
    return {**names, "inputs": list(inputs.values()), "outputs": list(outputs.values())}


def offered(network: Network) -> dict[str, schema.Signature]:
    """Return the signatures of the server by name, with the outputs that this network has."""
    every = schema.signatures(network.takes_files)
    missing = {"linear_map"}
    missing |= set() if network.decomposition.has_offsets else {"offsets"}
    missing |= set() if network.decomposition.features else {"wrt"}
    missing |= set() if network.thresholds else {"decisions"}
    missing |= set() if network.calibration else {"calibrated_probabilities"}
    return {
        name: schema.Signature(
            each.inputs, {output: tensor for output, tensor in each.outputs.items() if output not in missing}
        )
        for name, each in every.items()
        if name.removesuffix(schema.BYTES) in SIGNATURES
    }


def _definition(network, name, signature):
    def infos(tensors):
        return {
            each: {
                "dtype": _TF_SERVING[tensor.dtype],
                "tensor_shape": {
                    "dim": [{"size": str(size), "name": ""} for size in _shape(network, name, each, tensor)],
                    "unknown_rank": False,
                },
                "name": each,
            }
            for each, tensor in tensors.items()
        }

    inputs, outputs = infos(signature.inputs), infos(signature.outputs)
    return {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}


def _shape(network, signature, name, tensor):
    height, width = network.size
    takes_classes = signature.removesuffix(schema.BYTES) == schema.EXPLAIN_CLASSES
    sizes = {"C": network.num_classes, "H": height, "W": width, "c": network.channels}
    sizes["K"] = None if takes_classes else network.top_k
    outputs = {"wrt"} if network.decomposition.features else set()  # maps have the size of features, which is not given
    return [sizes.get(axis) or ANY for axis in schema.axes_of(name, tensor, outputs)]
