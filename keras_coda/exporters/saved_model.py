"""SavedModels that predict and explain: folders that TensorFlow and TF Serving load without this package."""

import os
from collections.abc import Sequence

import keras
import numpy as np

from keras_coda.explanations.explain import explain
from keras_coda.exporters import warmup as warmups
from keras_coda.exporters.bare_tensorflow import run_signatures
from keras_coda.exporters.lint import check_xla
from keras_coda.exporters.protos import read_meta_graph, read_signatures
from keras_coda.exporters.schema import BYTES, EXPLAIN, PREDICT, check_name, takes_files
from keras_coda.exporters.signatures import Signatures, require_tensorflow
from keras_coda.exporters.single_file import example_inputs
from keras_coda.utils.atomic import check_new, new_folder
from keras_coda.utils.checks import require, require_finite_network

_COMPARED = ("logits", "probabilities", "contributions")
_ANY_SIZE = 64  # height and width of the images to compare, if the network takes any


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    top_k: int = 1,
    image_size: int | Sequence[int] | None = None,
    linear_map: bool = False,
    signature: str = PREDICT,
    warmup: bool | None = None,
    verbose: bool = False,
) -> None:
    """Write a SavedModel with predictions and contribution maps, whole or not at all.

    Its signatures are those of :mod:`keras_coda.exporters.signatures`; the weights are stored once for all of them.
    They compute in float32 whatever the model's dtype policy, so that they agree with ``explain``, and none needs XLA.
    Pixels that are not finite or outside [0, 255], classes out of range, and files that are no images are refused with
    an error.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        path: the folder to write; for TF Serving ``<base>/<integer version>``. It must not exist.
        top_k: K, the number of classes per image that have maps.
        image_size: int or ``(height, width)``, for a network that takes any size; None leaves the size free, and then
            there are no signatures for image files.
        linear_map: whether maps come with ``linear_map (B, K, H, W, 2c)``, the weights of the encoded image.
        signature: name of the signature that callers get who name none, as ``serving_default``, for programs that load
            one signature: ``"contributions"`` gives them predictions and maps. It keeps its own name, too. Clients of
            this package need ``serving_default`` to predict from arrays, and explain with any.
        warmup: whether to add requests that TF Serving runs when it loads the model, so that the first callers need
            not wait, see :mod:`keras_coda.exporters.warmup`; this needs the extra ``serving``. None: if the extra is
            installed and the image size is fixed.
        verbose: whether Keras prints the signatures.

    Raises:
        FileExistsError: if ``path`` exists.
        ImportError: for ``warmup=True`` without the extra.
        ValueError: if ``top_k`` is not in [1, classes], the model is not explainable, has no such signature, or runs
            only with XLA.
        NonFiniteNetworkError: a ``ValueError``, if the network's logits or maps are NaN or infinite.
        RuntimeError: on a backend other than TensorFlow.
    """
    check_new(path)
    require_tensorflow()
    check_name(signature)
    served = Signatures.of(model, top_k=top_k, image_size=image_size, linear_map=linear_map)
    is_offered = not signature.endswith(BYTES) or takes_files(served.image_shape)
    rule = "Signatures for image files need images of one size with 1 or 3 channels"
    require(is_offered, rule, "Pass `image_size` if it is free", signature=signature, image_shape=served.image_shape)
    if warmup is None:
        warmup = served.has_size and warmups.is_available()
    if warmup:
        warmups.require_serving_api()
        rule = "Warm-up requests need images of one size"
        require(served.has_size, rule, "Pass `image_size`", image_size=served.image_size)
    functions = served.serving()
    functions[PREDICT] = functions[signature]
    _require_finite(model, functions[EXPLAIN][0], example_inputs(served)["images"][:1])
    with new_folder(path) as folder:
        archive = keras.export.ExportArchive()  # `track` is not called: it would store the weights a second time
        for name, (function, specs) in functions.items():
            archive.add_endpoint(name, function, input_signature=specs)
        archive.write_out(str(folder), verbose=verbose)
        compiled = [str(finding) for finding in check_xla(read_meta_graph(folder).graph_def)]
        rule, fix = "A served network must not need XLA, as Keras' grouped convolutions do", "Take a trunk without them"
        require(not compiled, rule, fix, found=compiled[:1])
        if warmup:
            warmups.write_warmup(folder)


def _require_finite(model, explain, images):
    """Run an exported function, and raise ``NonFiniteNetworkError`` if logits or maps are not finite."""
    import tensorflow as tf

    try:
        explain(tf.constant(images))
    except tf.errors.InvalidArgumentError:
        require_finite_network(model, logits_or_maps=np.array(np.nan))


def compare_saved_model(model: keras.Model, folder: str | os.PathLike, images: np.ndarray | None = None) -> float:
    """Run a SavedModel in a process that has TensorFlow but does not import this package, and compare it with Keras.

    Args:
        model: the network that was exported.
        folder: of the SavedModel.
        images: ``(N, H, W, c)``, pixels in [0, 255]; None for four random ones of the size exported.

    Returns:
        The largest absolute difference of logits, probabilities and contributions.

    Raises:
        ValueError: if there is no SavedModel, or it has no signature for images.
        RuntimeError: if the SavedModel does not run, or differs by more than float rounding explains.
    """
    found = read_signatures(folder)
    exported = found[EXPLAIN].inputs.get("images") if EXPLAIN in found else None
    axes = exported.shape if exported else None
    require(axes, f"A SavedModel must have a signature '{EXPLAIN}' of images", folder=os.fspath(folder))
    if images is None:  # their size may be fixed by the export only
        shape = [side or _ANY_SIZE for side in (axes or ())[1:]]
        images = np.random.default_rng(0).integers(0, 256, (4, *shape))
    images = np.asarray(images, "float32")
    inputs = {"images": images}
    names = [name for name in (EXPLAIN, PREDICT) if name in found and set(found[name].inputs) == set(inputs)]
    answers = run_signatures(folder, [(name, inputs) for name in names])
    explanation = explain(model, images, answers[0]["classes"])
    outputs = [(name, answer[name]) for answer in answers for name in _COMPARED if name in answer]
    difference = max(float(np.abs(array - getattr(explanation, name)).max()) for name, array in outputs)
    if not difference <= 1e-4 * max(1.0, float(np.abs(explanation.logits).max())):
        raise RuntimeError(f"The SavedModel must agree with Keras. Received: '{folder}', which differs by {difference}")
    return difference
