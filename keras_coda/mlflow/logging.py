"""Networks as MLflow models, whose ``predict`` gives predictions and contribution maps."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from keras_coda.explanations.explain import explain
from keras_coda.exporters.protos import TensorMetadata, read_signatures
from keras_coda.exporters.saved_model import export_saved_model
from keras_coda.exporters.schema import EXPLAIN, tensors
from keras_coda.models.classifier import ExplainableClassifier
from keras_coda.utils.atomic import check_new
from keras_coda.utils.checks import check_images, check_pair, require
from keras_coda.utils.optional import import_optional
from keras_coda.utils.tables import markdown_table
from keras_coda.version import __version__

_SERVED = Path(__file__).with_name("served.py")
_SAVED_MODEL, _PRESET, _CARD, _MAPS = "saved_model", "preset", "card.md", "maps.png"
_EXAMPLES = 4  # images of the input example and of the picture
_GRAY, _ANY_SIZE = 128, 64  # of the example if there are no images


def log_model(
    model: ExplainableClassifier,
    name: str = "model",
    *,
    top_k: int = 1,
    image_size: int | Sequence[int] | None = None,
    images=None,
    card: str | os.PathLike | None = None,
    metrics: Mapping[str, float] | None = None,
    registered_model_name: str | None = None,
    pip_requirements: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Any:
    """Log a network to MLflow as a model that predicts and explains.

    ``mlflow.pyfunc.load_model(info.model_uri).predict(images)`` takes ``(B, H, W, c)`` float32, pixels in [0, 255], and
    returns a dict of arrays: ``logits`` and ``probabilities`` (B, C), ``classes`` and ``class_names`` (B, K),
    ``contributions`` (B, K, H, W), ``residual`` (B, K), ``bias`` (B,), and ``offsets`` (B, K) where a network has them.
    The parameters ``params={"classes": [3, 5]}`` choose the classes to explain, ``{"top": 2}`` the number of most
    probable ones, and ``{"maps": False}`` leaves the maps out. `mlflow models serve` answers with the same.

    The logged model needs MLflow, NumPy and TensorFlow, but not this package. The run (the active one, or a new one)
    gets the figures of the network as metrics, its card and a picture of maps as artifacts in a folder of that name.

    Args:
        model: the network; with the TensorFlow backend.
        name: of the logged model.
        top_k: K, the number of classes that are explained unless a caller asks for others.
        image_size: int or ``(height, width)``, for a network that takes any size; None leaves it free.
        images: some images, ``(B, H, W, c)``: the first four become the input example and the picture of maps. None:
            a gray image is the example, and there is no picture.
        card: path of a Markdown file about the network, such as
            ``keras_coda.models.preset_folder("coda_digits") / "README.md"``; None for a short one of what is known.
        metrics: figures beside those of the training, such as those of :func:`keras_coda.evaluation.evaluate`.
        registered_model_name: the name under which to register the model, too.
        pip_requirements: what the logged model needs; None for the versions installed here.
        tags: of the logged model.

    Returns:
        MLflow's ``ModelInfo``.

    Raises:
        ImportError: without the extra ``mlflow``.
        ValueError: for arguments that do not fit the network.
        RuntimeError: on a backend other than TensorFlow.

    Reference:
        https://mlflow.org/docs/latest/ml/model
    """
    mlflow = _mlflow()
    example = _example(model, image_size, images)
    figures = _figures(model, metrics)
    options = _options(model, top_k, image_size, example, _text(card), pip_requirements)
    with options as arguments, _run(mlflow):
        info = mlflow.pyfunc.log_model(
            name=name, registered_model_name=registered_model_name, tags=dict(tags) if tags else None, **arguments
        )
        mlflow.log_artifact(arguments["artifacts"][_CARD], name)
        if images is not None:
            explanation = explain(model, example, verbose=False)
            figures["largest_residual"] = float(explanation.residual.max())
            mlflow.log_figure(explanation.plot(), f"{name}/{_MAPS}")
        mlflow.log_metrics(figures, model_id=info.model_id)
    return info


def save_model(
    model: ExplainableClassifier,
    path: str | os.PathLike,
    *,
    top_k: int = 1,
    image_size: int | Sequence[int] | None = None,
    images=None,
    card: str | os.PathLike | None = None,
    pip_requirements: Sequence[str] | None = None,
) -> None:
    """Write a network to a folder in MLflow's format; arguments and result are those of :func:`log_model`.

    Args:
        model: the network; with the TensorFlow backend.
        path: the folder; it must not exist.
        top_k: see :func:`log_model`.
        image_size: see :func:`log_model`.
        images: some images, ``(B, H, W, c)``: the first four become the input example.
        card: see :func:`log_model`.
        pip_requirements: see :func:`log_model`.

    Raises:
        FileExistsError: if ``path`` exists.
        ImportError: without the extra ``mlflow``.
        ValueError: for arguments that do not fit the network.
        RuntimeError: on a backend other than TensorFlow.
    """
    mlflow = _mlflow()
    folder = check_new(path)
    example = _example(model, image_size, images)
    with _options(model, top_k, image_size, example, _text(card), pip_requirements) as arguments:
        mlflow.pyfunc.save_model(os.fspath(folder), **arguments)


def load_model(model_uri: str) -> ExplainableClassifier:
    """Load the network of a model that :func:`log_model` or :func:`save_model` wrote, to explain or train it further.

    Args:
        model_uri: of the model, such as ``"models:/NAME/1"``, or its folder.

    Raises:
        ImportError: without the extra ``mlflow``.
        ValueError: if this package did not write the model.
    """
    mlflow = _mlflow()
    folder = Path(mlflow.artifacts.download_artifacts(os.fspath(model_uri)), "artifacts", _PRESET)
    require(folder.is_dir(), "The model must be one that keras_coda.mlflow wrote", model_uri=os.fspath(model_uri))
    return ExplainableClassifier.from_preset(folder)


def _mlflow():
    return import_optional("mlflow", extra="mlflow", purpose="Logging to MLflow")


@contextlib.contextmanager
def _run(mlflow) -> Iterator[None]:
    """Stay in the active run, or begin and end one."""
    with contextlib.nullcontext() if mlflow.active_run() else mlflow.start_run():
        yield


@contextlib.contextmanager
def _options(model, top_k, image_size, example, card, pip_requirements) -> Iterator[dict[str, Any]]:
    """Write the files of a model to a scratch folder, and yield the arguments of MLflow's functions."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch, name) for name in (_SAVED_MODEL, _PRESET, _CARD)}
        export_saved_model(model, files[_SAVED_MODEL], top_k=top_k, image_size=image_size, warmup=False)
        model.save_to_preset(files[_PRESET])
        files[_CARD].write_text(_card(model) if card is None else card, encoding="utf-8")
        yield {
            "python_model": os.fspath(_SERVED),
            "artifacts": {name: os.fspath(path) for name, path in files.items()},
            "signature": _signature(files[_SAVED_MODEL], top_k),
            "input_example": example,
            "pip_requirements": list(pip_requirements or _requirements()),
        }


def _requirements() -> list[str]:
    return [f"{package}=={metadata.version(package)}" for package in ("mlflow", "numpy", "tensorflow")]


def _signature(folder: Path, top_k: int):
    """Return MLflow's signature of inputs, outputs and parameters."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema, ParamSpec, Schema, TensorSpec

    found = read_signatures(folder)[EXPLAIN]
    outputs: list = [TensorSpec(*_spec(name, tensor), name) for name, tensor in found.outputs.items()]
    params = [
        ParamSpec("maps", "boolean", True),
        ParamSpec("classes", "long", [], (-1,)),
        ParamSpec("top", "long", top_k),
    ]
    images = TensorSpec(*_spec("images", found.inputs["images"]))  # without a name: `predict` takes an array
    return ModelSignature(Schema([images]), Schema(outputs), ParamSchema(params))


def _spec(name: str, tensor: TensorMetadata) -> tuple[np.dtype, tuple[int, ...]]:
    """Return dtype and shape; the number of classes explained is up to the caller."""
    sizes = zip(tensors()[name].axes, tensor.shape or (), strict=True)
    shape = tuple(-1 if size is None or axis == "K" else size for axis, size in sizes)
    return np.dtype(str if tensor.dtype == "string" else tensor.dtype), shape


def _example(model, image_size, images) -> np.ndarray:
    """Check network and images, and return a few of them."""
    rule = "`model` must be an ExplainableClassifier"
    require(isinstance(model, ExplainableClassifier), rule, model=type(model).__name__)
    *size, channels = model.input_shape[1:]
    if image_size is not None:
        size = check_pair("image_size", image_size)
    if images is not None:
        return check_images(images, channels, tuple(size))[:_EXAMPLES]
    return np.full((1, *(side or _ANY_SIZE for side in size), channels), _GRAY, "float32")


def _text(card) -> str | None:
    return None if card is None else Path(card).expanduser().read_text(encoding="utf-8")


def _card(model) -> str:
    """Return what is known of a network, as Markdown."""
    height, width, channels = (side or "any" for side in model.input_shape[1:])
    names = getattr(model, "class_names", None) or [str(label) for label in range(model.output_shape[-1])]
    lines = [
        f"# {model.name}",
        f"A {type(model).__name__} of keras_coda {__version__} with {model.count_params():,} parameters.",
        f"Images: height {height}, width {width}, channels {channels}, pixels in [0, 255]. "
        f"Classes: {', '.join(names)}.",
    ]
    figures = _figures(model, None)
    if figures:
        rows = [(name, f"{value:.4g}") for name, value in figures.items()]
        lines += ["## Training", markdown_table(("figure", "value"), rows)]
    lines += [
        "## Explanations",
        "A contribution map says what each pixel adds to the logit of a class: its sum, plus the bias, is the logit. "
        "It is exact about this network, not about the world: it shows what the network used.",
    ]
    return "\n\n".join(lines) + "\n"


def _figures(model, metrics) -> dict[str, float]:
    """Return the numbers among the figures of the training, and further ones."""
    given = {**getattr(model, "training_figures", {}), **(metrics or {})}
    return {name: float(value) for name, value in given.items() if isinstance(value, (int, float)) and value == value}
