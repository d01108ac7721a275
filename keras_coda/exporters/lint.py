"""Does an exported folder keep what TF Serving asks of it? A lint of its protos, and a run without this package.

:func:`lint` loads nothing: it reads protos and file sizes. :func:`verify` also runs the model.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

from keras_coda.exporters import warmup
from keras_coda.exporters.protos import Signature, TensorSpec, read_meta_graph, signatures
from keras_coda.exporters.signatures import BYTES, EXPLAIN, EXPLAIN_CLASSES, PREDICT
from keras_coda.utils.checks import require

# Letters stand for sizes, the same one everywhere: B images, C classes, K maps, H and W, c channels, D = 2c.
_PREDICTIONS = {"logits": "float32 BC", "probabilities": "float32 BC"}
_INPUTS = {"images": "float32 BHWc", "image_bytes": "string B", "classes": "int32 BK"}
_TOP = {"top_classes": "int32 BK", "top_probabilities": "float32 BK", "top_class_names": "string BK"}
_MAPS = {
    "classes": "int32 BK",
    "class_names": "string BK",
    "contributions": "float32 BKHW",
    "residual": "float32 BK",
    "bias": "float32 B",
}
_OPTIONAL = {"linear_map": "float32 BKHWD"}
_SERVABLE_DTYPES = ("float32", "int32", "string")
_LARGEST_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Finding:
    """A rule that a folder breaks.

    Attributes:
        rule: its short name: layout, version, neighbors, proto, signatures, dtype, batch, xla, weights or warmup.
        message: the rule, what was found, the fix.
        is_error: False where TF Serving copes.
    """

    rule: str
    message: str
    is_error: bool = True

    def __str__(self):
        return f"{self.rule}: {self.message}"


@dataclasses.dataclass(frozen=True)
class Check:
    """A row of the table that :func:`verify` returns.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        detail: the figure, or what is wrong.
    """

    name: str
    passed: bool
    detail: str


def lint(folder: str | os.PathLike) -> list[Finding]:
    """Return every rule that an exported folder breaks, none if it can be served.

    Args:
        folder: ``<base>/<integer version>`` as :meth:`CoDANet.export` wrote it.
    """
    folder = Path(folder).expanduser().resolve()
    findings = [*_check_layout(folder), *_check_version(folder), *_check_neighbors(folder)]
    try:
        meta_graph = read_meta_graph(folder)
    except ValueError as error:
        return [*findings, Finding("proto", str(error))]
    found = signatures(meta_graph)
    findings += [*_check_signatures(found), *_check_tensors(found), *_check_xla(meta_graph.graph_def)]
    return [*findings, *_check_weights(folder, meta_graph), *_check_warmup(folder, found)]


def check(folder: str | os.PathLike) -> None:
    """Raise the ``ValueError`` that lists the errors among :func:`lint`'s findings, if there are any."""
    errors = [str(finding) for finding in lint(folder) if finding.is_error]
    require(not errors, "An exported folder must be one that TF Serving loads", folder=os.fspath(folder), found=errors)


def verify(folder: str | os.PathLike, model=None) -> list[Check]:
    """Lint an exported folder, run its warm-up in bare TensorFlow, and compare it with the network it came from.

    Args:
        folder: as for :func:`lint`.
        model: the network; None to leave the comparison out.

    Returns:
        One :class:`Check` per step. Print them with :func:`table`; all are ``passed`` if the folder may be served.
    """
    rows = [_lint_row(folder), *_replay_rows(folder)]
    if model is not None:
        from keras_coda.exporters.saved_model import compare_saved_model

        difference, error = _attempt(compare_saved_model, model, folder)
        rows.append(Check("agrees with Keras", not error, error or f"largest difference {difference:.1e}"))
    return rows


def table(checks: list[Check]) -> str:
    """Return the rows of :func:`verify` as lines of text."""
    width = max(len(row.name) for row in checks)
    return "\n".join(f"{'ok  ' if row.passed else 'FAIL'}  {row.name:<{width}}  {row.detail}" for row in checks)


# === Steps of verify ===


def _lint_row(folder) -> Check:
    findings = lint(folder)
    detail = "; ".join(map(str, findings)) or "layout, signatures, dtypes, batch dimensions, XLA, weights, warm-up"
    return Check("lint", not any(finding.is_error for finding in findings), detail)


def _replay_rows(folder) -> Iterator[Check]:
    replay, error = _attempt(warmup.replay, folder)
    if error:
        yield Check("runs in bare TensorFlow", False, error)
        return
    runs = ", ".join(sorted({record.signature for record in replay.records}))
    yield Check("runs in bare TensorFlow", True, f"{len(replay.records)} requests: {runs}")
    residual = replay.largest_residual
    passed = residual is not None and residual <= 1e-3
    detail = "no maps were asked for" if residual is None else f"largest residual {residual:.1e}"
    yield Check("maps sum to logits", passed, detail)


def _attempt(function, *arguments):
    """Return the result and "", or None and what went wrong."""
    try:
        return function(*arguments), ""
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return None, str(error)


# === Rules ===


def _check_layout(folder: Path) -> Iterator[Finding]:
    for name in ("saved_model.pb", "variables/variables.index"):
        if not (folder / name).is_file():
            yield Finding("layout", f"An export must have {name}. Received: '{folder}'. Export it again.")
    shards = sorted(path.name for path in folder.glob("variables/variables.data-*"))
    total = {name.rpartition("-of-")[2] for name in shards}
    if len(total) != 1 or len(shards) != int(total.pop()):
        yield Finding("layout", f"All shards of the variables must be there. Received: {shards}. Export it again.")


def _check_version(folder: Path) -> Iterator[Finding]:
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
            yield Finding("neighbors", f"{message} TF Serving passes it over; delete it if no export runs.", False)


def _is_version(name: str) -> bool:
    return re.fullmatch("[0-9]+", name) is not None and int(name) <= _LARGEST_VERSION


def _check_signatures(found: dict[str, Signature]) -> Iterator[Finding]:
    sizes = {}
    for name, (inputs, outputs) in _expected(found).items():
        if name not in found:
            yield Finding("signatures", f"A signature is missing. Received: {sorted(found)}, without '{name}'.")
            continue
        signature = found[name]
        yield from _check_names(f"inputs of '{name}'", signature.inputs, inputs, {}, sizes)
        yield from _check_names(f"outputs of '{name}'", signature.outputs, outputs, _OPTIONAL, sizes)


def _expected(found: dict[str, Signature]) -> dict[str, tuple[dict, dict]]:
    """Return inputs and outputs by signature; the twins for image files where files fit the images."""
    images = {"images": _INPUTS["images"]}
    classes = {"classes": _INPUTS["classes"]}
    explained = {**_PREDICTIONS, **_MAPS}
    expected = {
        PREDICT: (images, {**_PREDICTIONS, **_TOP}),
        EXPLAIN: (images, explained),
        EXPLAIN_CLASSES: ({**images, **classes}, explained),
    }
    spec = found[PREDICT].inputs.get("images") if PREDICT in found else None
    if spec is None or not spec.shape or (None not in spec.shape[1:] and spec.shape[-1] in (1, 3)):
        encoded = {"image_bytes": _INPUTS["image_bytes"]}
        expected[PREDICT + BYTES] = (encoded, {**_PREDICTIONS, **_TOP})
        expected[EXPLAIN + BYTES] = (encoded, {**explained, **images})
        expected[EXPLAIN_CLASSES + BYTES] = ({**encoded, **classes}, {**explained, **images})
    return expected


def _check_names(where, found: dict, expected: dict, optional: dict, sizes: dict) -> Iterator[Finding]:
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected) - set(optional))
    if missing or unknown:
        yield Finding("signatures", f"The {where} must be {sorted(expected)}. Received: {missing=}, {unknown=}.")
    for name in sorted(set(found) & {*expected, *optional}):
        dtype, letters = {**expected, **optional}[name].split()
        spec = found[name]
        if spec.dtype != dtype:
            yield Finding("dtype", f"'{name}' of the {where} must be {dtype}. Received: {spec.dtype}.")
        if not _fits(spec, letters, sizes):
            message = f"'{name}' of the {where} must have shape ({', '.join(letters)}), one size per letter."
            yield Finding("signatures", f"{message} Received: {spec.shape}, elsewhere {sizes}.")


def _fits(spec: TensorSpec, letters: str, sizes: dict) -> bool:
    """Tell whether a shape has one entry per letter, and note the sizes of letters met for the first time."""
    if spec.shape is None or len(spec.shape) != len(letters):
        return False
    return all(sizes.setdefault(letter, size) == size for letter, size in zip(letters, spec.shape, strict=True))


def _check_tensors(found: dict[str, Signature]) -> Iterator[Finding]:
    for name, signature in found.items():
        for key, spec in [*signature.inputs.items(), *signature.outputs.items()]:
            if spec.dtype not in _SERVABLE_DTYPES:
                message = f"Tensors must be {', '.join(_SERVABLE_DTYPES)}: REST serves no half floats."
                yield Finding("dtype", f"{message} Received: '{key}' of '{name}', {spec.dtype}.")
            if not spec.shape or spec.shape[0] is not None:
                message = "Every tensor must begin with a batch dimension of free size."
                yield Finding("batch", f"{message} Received: '{key}' of '{name}', shape {spec.shape}.")


def _check_xla(graph_def) -> Iterator[Finding]:
    """Find what must be compiled: TF Serving loads it, and then fails every call."""
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
    """Compare the bytes of the checkpoint with those of the variables that signatures use."""
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


def _check_warmup(folder: Path, found: dict[str, Signature]) -> Iterator[Finding]:
    """A record that fails makes the whole model fail to load."""
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


def _takes(signature: Signature, inputs: dict) -> bool:
    """Tell whether tensors have the names, dtypes and shapes of a signature's inputs."""
    import tensorflow as tf

    return set(inputs) == set(signature.inputs) and all(
        tf.dtypes.as_dtype(inputs[name].dtype).name == spec.dtype
        and tf.TensorShape(inputs[name].tensor_shape).is_compatible_with(tf.TensorShape(spec.shape))
        for name, spec in signature.inputs.items()
    )
