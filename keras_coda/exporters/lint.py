"""Checks whether TF Serving can load an exported folder: its protos and files are read, nothing is run.

:func:`keras_coda.exporters.verify_saved_model` also runs the model.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

import numpy as np

from keras_coda.exporters import schema, warmup
from keras_coda.exporters.protos import SignatureMetadata, TensorMetadata, read_meta_graph, signatures_of
from keras_coda.utils.checks import require

TRITON_FOLDER = "model.savedmodel"  # below the folder of the version, where Triton looks for it
_LARGEST_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Finding:
    """A rule that a folder breaks.

    Attributes:
        rule: its short name: layout, version, neighbors, proto, signatures, dtype, batch, xla, weights or warmup.
        message: the rule, the value found, the fix.
        is_error: False if TF Serving serves the folder all the same.
    """

    rule: str
    message: str
    is_error: bool = True

    def __str__(self):
        return f"{self.rule}: {self.message}"


def lint_saved_model(folder: str | os.PathLike) -> list[Finding]:
    """Return every rule that an exported folder breaks; an empty list if it can be served.

    The signatures of :mod:`keras_coda.exporters.schema` must be there, with the inputs and outputs of that table.
    Signatures of other names may be added; for them, only the rules hold that TF Serving has for every signature.

    Args:
        folder: ``<base>/<integer version>`` as :meth:`CoDANet.export` wrote it; for Triton
            ``<base>/<integer version>/model.savedmodel``.
    """
    folder = Path(folder).expanduser().resolve()
    findings = [*_check_layout(folder), *_check_version(folder), *_check_neighbors(folder)]
    try:
        meta_graph = read_meta_graph(folder)
    except ValueError as error:
        return [*findings, Finding("proto", str(error))]
    found = signatures_of(meta_graph)
    findings += [*_check_signatures(found), *_check_tensors(found), *check_xla(meta_graph.graph_def)]
    return [*findings, *_check_weights(folder, meta_graph), *_check_warmup(folder, found)]


def require_servable(folder: str | os.PathLike) -> None:
    """Raise a ``ValueError`` that lists all errors that :func:`lint_saved_model` finds, if there are any."""
    errors = [str(finding) for finding in lint_saved_model(folder) if finding.is_error]
    require(not errors, "An exported folder must be one that TF Serving loads", folder=os.fspath(folder), found=errors)


def _check_layout(folder: Path) -> Iterator[Finding]:
    for name in ("saved_model.pb", "variables/variables.index"):
        if not (folder / name).is_file():
            yield Finding("layout", f"An export must have {name}. Received: '{folder}'. Export it again.")
    shards = sorted(path.name for path in folder.glob("variables/variables.data-*"))
    total = {name.rpartition("-of-")[2] for name in shards}
    if len(total) != 1 or len(shards) != int(total.pop()):
        yield Finding("layout", f"All shards of the variables must be there. Received: {shards}. Export it again.")


def _check_version(folder: Path) -> Iterator[Finding]:
    if folder.name == TRITON_FOLDER and _is_version(folder.parent.name):
        return
    if not _is_version(folder.name):
        fix = f"Move it to '{folder / '1'}'."
        yield Finding("version", f"TF Serving only sees folders named by an integer. Received: '{folder.name}'. {fix}")


def _check_neighbors(folder: Path) -> Iterator[Finding]:
    for other in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else ():
        if other != folder and _is_version(other.name) and not (other / "saved_model.pb").is_file():
            message = f"Every folder named by an integer is a version to load. Received: '{other}', no SavedModel."
            yield Finding("neighbors", f"{message} Delete it.")
        if other.name.startswith(".tmp-"):
            message = f"An export was interrupted, or is under way. Received: '{other}'."
            yield Finding(
                "neighbors", f"{message} TF Serving ignores it; if no export runs, the next one deletes it.", False
            )


def _is_version(name: str) -> bool:
    return re.fullmatch("[0-9]+", name) is not None and int(name) <= _LARGEST_VERSION


def _check_signatures(found: Mapping[str, SignatureMetadata]) -> Iterator[Finding]:
    """Compare with the schema. Signatures that it does not have are the exporter's own, and may be anything."""
    images = found[schema.PREDICT].inputs.get("images") if schema.PREDICT in found else None
    takes_files = images is None or not images.shape or schema.takes_files(images.shape[1:])
    sizes: dict[str, int | None] = {}
    offered = schema.signatures()
    # An export may give `serving_default` another meaning: then it equals the signature of the name that was chosen.
    chosen = [name for name in offered if name != schema.PREDICT and found.get(name) == found.get(schema.PREDICT)]
    for name, expected in {**offered, schema.PREDICT: offered[(chosen or [schema.PREDICT])[0]]}.items():
        if name in found:
            yield from _check_names(f"inputs of '{name}'", found[name].inputs, expected.inputs, sizes)
            yield from _check_names(f"outputs of '{name}'", found[name].outputs, expected.outputs, sizes)
        elif takes_files or name in schema.SIGNATURES:
            yield Finding("signatures", f"A signature is missing. Received: {sorted(found)}, without '{name}'.")


def _check_names(
    where: str,
    found: Mapping[str, TensorMetadata],
    expected: Mapping[str, schema.Tensor],
    sizes: MutableMapping[str, int | None],
) -> Iterator[Finding]:
    required = {name for name, tensor in expected.items() if not tensor.is_optional}
    missing, unknown = sorted(required - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        yield Finding("signatures", f"The {where} must be {sorted(required)}. Received: {missing=}, {unknown=}.")
    for name in sorted(set(found) & set(expected)):
        tensor, spec = expected[name], found[name]
        if spec.dtype != tensor.dtype:
            yield Finding("dtype", f"'{name}' of the {where} must be {tensor.dtype}. Received: {spec.dtype}.")
        axes = schema.axes_of(name, tensor, found)
        if not schema.match(axes, spec.shape, sizes):
            message = f"'{name}' of the {where} must have shape ({', '.join(axes)}), one size per letter."
            yield Finding("signatures", f"{message} Received: {spec.shape}, elsewhere {sizes}.")


def _check_tensors(found: Mapping[str, SignatureMetadata]) -> Iterator[Finding]:
    for name, signature in found.items():
        for key, spec in [*signature.inputs.items(), *signature.outputs.items()]:
            if spec.dtype not in schema.DTYPES:
                message = f"Tensors must be {', '.join(schema.DTYPES)}: REST serves no half floats."
                yield Finding("dtype", f"{message} Received: '{key}' of '{name}', {spec.dtype}.")
            if not spec.shape or spec.shape[0] is not None:
                message = "Every tensor must begin with a batch dimension of free size."
                yield Finding("batch", f"{message} Received: '{key}' of '{name}', shape {spec.shape}.")


def check_xla(graph_def) -> Iterator[Finding]:
    """Find functions that XLA must compile: TF Serving loads them, and then fails every call.

    Args:
        graph_def: of a SavedModel.
    """
    places = [("graph", graph_def.node)]
    for function in graph_def.library.function:
        places.append((function.signature.name, function.node_def))
        if function.attr["_XlaMustCompile"].b:
            yield _must_compile(f"function '{function.signature.name}'")
    for place, nodes in places:
        for node in nodes:
            if "_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b:
                yield _must_compile(f"node '{node.name}' of '{place}'")


def _must_compile(where: str) -> Finding:
    return Finding("xla", f"Nothing may ask for XLA (jit_compile). Received: _XlaMustCompile on {where}.")


def _check_weights(folder: Path, meta_graph) -> Iterator[Finding]:
    """Compare the size of the checkpoint with that of the variables that signatures use, in bytes."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(os.fspath(folder / "variables" / "variables"))
    except (tf.errors.OpError, ValueError) as error:
        yield Finding("weights", f"The variables must be a readable checkpoint. Received: '{folder}' ({error}).")
        return
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    stored = sum(_bytes(dtypes[key], shape) for key, shape in shapes.items() if dtypes[key] != tf.string)
    graph = meta_graph.object_graph_def
    used = {index for function in graph.concrete_functions.values() for index in function.bound_inputs}
    variables = [graph.nodes[index].variable for index in used if graph.nodes[index].WhichOneof("kind") == "variable"]
    needed = sum(_bytes(tf.dtypes.as_dtype(item.dtype), tf.TensorShape(item.shape)) for item in variables)
    size = sum(path.stat().st_size for path in folder.glob("variables/variables.data-*"))
    if size < stored:
        message = f"The shards of the variables must be whole, {stored} bytes or more."
        yield Finding("weights", f"{message} Received: {size} bytes. Export it again.")
    if stored != needed:
        message = f"Weights must be stored once, {needed} bytes for what signatures use."
        yield Finding("weights", f"{message} Received: {stored} bytes in the checkpoint.", stored < needed)


def _bytes(dtype, shape) -> int:
    import tensorflow as tf

    return dtype.size * tf.TensorShape(shape).num_elements()


def _check_warmup(folder: Path, found: Mapping[str, SignatureMetadata]) -> Iterator[Finding]:
    """Check the warm-up requests: one that fails keeps the whole model from loading."""
    if not (folder / warmup.WARMUP_FILE).is_file():
        return
    try:
        requests = warmup.read_warmup(folder)
    except (ImportError, ValueError) as error:
        yield Finding("warmup", str(error), not isinstance(error, ImportError))
        return
    if len(requests) > warmup.MAX_RECORDS:
        message = f"At most {warmup.MAX_RECORDS} warm-up requests are allowed. Received: {len(requests)}."
        yield Finding("warmup", message)
    for index, (name, inputs) in enumerate(requests):
        if name not in found:
            yield Finding("warmup", f"Requests must name a signature. Received: record {index}, '{name}'.")
        elif not _takes(found[name], inputs):
            message = f"Requests must have the inputs of '{name}', {found[name].inputs}."
            yield Finding("warmup", f"{message} Received: record {index}, {sorted(inputs)}.")


def _takes(signature: SignatureMetadata, inputs: Mapping[str, np.ndarray]) -> bool:
    """Tell whether arrays have the names, dtypes and shapes of a signature's inputs."""
    return set(inputs) == set(signature.inputs) and all(
        ("string" if inputs[name].dtype == object else inputs[name].dtype.name) == spec.dtype
        and spec.fits(inputs[name].shape)
        for name, spec in signature.inputs.items()
    )
