"""Quantus' metrics, a published harness of others' yardsticks, for contribution maps and every other explainer.

Quantus removes input values (it sets them to a baseline) and adds noise to them. What it gets here as the input is the
*encoded* image, ``[x, 1-x]`` in [0, 1], channels first: its zero is a removed pixel, as in
:func:`keras_coda.evaluation.pixel_removal`, and the logits of an image of zeros are the bias. Hence maps that sum to
``logit - bias`` are complete by Quantus' definition, which no baseline made of pixels would show.
"""

import dataclasses
import math
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_coda.evaluation.results import Result
from keras_coda.explanations.decomposition import Decomposition
from keras_coda.explanations.explainers import Explainer, attributions, name_of
from keras_coda.posthoc.methods import get
from keras_coda.posthoc.methods import methods as all_methods
from keras_coda.utils.checks import check_images, check_int, require
from keras_coda.utils.errors import PixelRangeWarning
from keras_coda.utils.labels import class_labels
from keras_coda.utils.optional import import_optional
from keras_coda.utils.progress import Progress
from keras_coda.utils.records import to_json
from keras_coda.utils.tables import markdown_table, to_html

_ROUNDING = 1e-3  # of sums over a map in float32, relative and absolute


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class QuantusResult(Result):
    """The scores of one explainer by one metric of Quantus.

    Attributes:
        metric: name of the metric.
        direction: ``"higher"`` or ``"lower"``, which scores are better, as Quantus says.
        values: ``(n_images,)``, one score for each image; of curves, their mean.
    """

    unit: ClassVar[str] = "images"

    metric: str
    direction: str
    values: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """The scores of all images."""
        return self.values


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class QuantusScores:
    """The scores of several explainers by several metrics.

    Attributes:
        results: for each metric, by name, a :class:`QuantusResult` for each explainer, in the same order.
    """

    results: Mapping[str, tuple[QuantusResult, ...]]

    def table(self) -> str:
        """Return a Markdown table, a row for each metric: mean and standard error, the best in bold."""
        rows = []
        for metric, results in self.results.items():
            means = [round(each.mean, 3) for each in results]
            best = np.nanmax(means) if results[0].direction == "higher" else np.nanmin(means)
            cells = [
                f"**{each.text}**" if mean == best else each.text for each, mean in zip(results, means, strict=True)
            ]
            rows.append((metric, results[0].direction, *cells))
        first = next(iter(self.results.values()))
        head = ("metric", "better", *(result.explainer for result in first))
        footnote = f"Mean ± standard error over {len(first[0].values)} images."
        return f"{markdown_table(head, rows, right=range(2, len(head)))}\n\n{footnote}"

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return to_html(self.table())

    def to_json(self, path=None) -> str:
        """Return all results as JSON, and also write them to ``path`` if it is given."""
        return to_json(self.results, path)


# === What Quantus takes ===


def quantus_inputs(model: keras.Model, images) -> tuple[keras.Model, np.ndarray]:
    """Return a network and inputs as Quantus takes them: a network from encoded images to logits, and these images.

    The network is a copy in float32: metrics that randomize its weights leave the model as it is.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255].

    Returns:
        ``(network, x_batch)``: the network, and float32 ``(B, channels, H, W)``, for CoDANets ``[x, 1-x]`` in [0, 1].
        Pass ``channel_first=True`` to metrics where images are not larger than their channels are many.

    Raises:
        TypeError, ValueError: for images that do not fit the model, and models that are not explainable.

    Example:
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> network, x_batch = quantus_inputs(model, np.zeros((2, 8, 8, 1)))
        >>> x_batch.shape
        (2, 2, 8, 8)
        >>> network.predict(x_batch).shape
        (2, 10)
    """
    decomposition = Decomposition.of(model)
    shape = decomposition.input_shape
    encoded = np.asarray(decomposition.encode(check_images(images, shape[-1], shape[:2])))
    x_batch = np.moveaxis(encoded, -1, 1)
    weights = [weight for layer in decomposition.chain for weight in layer.get_weights()]
    inputs = keras.Input(x_batch.shape[1:], name="encoded_images")
    channels_last = keras.layers.Permute((2, 3, 1))(inputs)
    return _network(weights)(inputs, _copied(decomposition.chain, channels_last)), x_batch


def _network(weights):
    """Return a class of functional models that begin with these weights."""

    class Network(keras.Model):
        # The arguments of keras.Model: with them `keras.models.clone_model`, by which Quantus copies a network that it
        # then randomizes layer by layer, makes a model of this class. Other clones have new weights from the start.
        def __init__(self, inputs, outputs, name=None):
            super().__init__(inputs=inputs, outputs=outputs, name=name)
            self.set_weights(weights)
            self.layers[-1].activation = keras.activations.linear  # by this Quantus knows that outputs are logits

        def predict(self, x, **options):
            return np.asarray(self.predict_on_batch(x))  # for Quantus' many small batches `predict` is slow

    return Network


def _copied(chain, x):
    """Return the output of copies, in float32, of a chain of layers."""
    for layer in chain:
        x = type(layer).from_config({**layer.get_config(), "dtype": "float32"})(x)
    return x


def quantus_explainer(method: str | Explainer | None = None) -> Callable[..., np.ndarray]:
    """Return an explainer as Quantus takes it: ``explain_func(model, inputs, targets, **kwargs)``.

    Args:
        method: None for exact contribution maps; a name among :func:`keras_coda.posthoc.methods`; or a function
            ``(model, images, classes) -> maps (B, H, W)``. It gets a model of encoded images, channels last, whose
            values are in [0, 255] instead of [0, 1].

    Returns:
        A function of a network and inputs as of :func:`quantus_inputs`, and classes ``(B,)``. It returns float64
        attributions of the shape of the inputs. Maps have one value for each pixel; its channels get equal parts, so
        that the sums are those of the maps. Quantus' further keyword arguments are ignored.

    Raises:
        ValueError: for unknown methods.

    Example:
        >>> model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
        >>> network, x_batch = quantus_inputs(model, np.zeros((2, 8, 8, 1)))
        >>> quantus_explainer()(network, x_batch, np.array([3, 5])).shape
        (2, 2, 8, 8)
    """
    explainer = get(method) if isinstance(method, str) else method
    name = name_of(explainer)

    def explain_func(model, inputs, targets, **kwargs):
        images = np.moveaxis(np.asarray(inputs), 1, -1) * 255
        classes = np.asarray(targets, "int32")[:, None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PixelRangeWarning)  # noise leads out of the range
            maps = attributions(explainer, _channels_last(model), images.astype("float32"), classes)
        return np.repeat(maps / inputs.shape[1], inputs.shape[1], axis=1)

    explain_func.__name__ = name
    return explain_func


_explained: weakref.WeakKeyDictionary[keras.Model, keras.Model] = weakref.WeakKeyDictionary()


def _channels_last(network):
    """Return a copy of a network as explainers take it: images channels last, in [0, 255]."""
    if network not in _explained:
        channels, height, width = network.input_shape[1:]
        images = keras.Input((height, width, channels))
        scaled = keras.layers.Rescaling(1 / 255)(images)
        _explained[network] = keras.Model(images, _copied(network.layers[2:], scaled))
    _explained[network].set_weights(network.get_weights())  # Quantus changes them
    return _explained[network]


# === Metrics ===


class _Rounded:
    """Numbers that equal those that differ from them by rounding only: Quantus compares sums of floats by ``==``."""

    __array_ufunc__ = None  # so that NumPy leaves the comparison to this class
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values):
        self.values = values

    def __eq__(self, other):
        return np.isclose(other, self.values, rtol=_ROUNDING, atol=_ROUNDING)


def quantus_metrics(network: keras.Model) -> dict[str, Any]:
    """Return twelve of Quantus' metrics, with sizes that fit a network of :func:`quantus_inputs`.

    Values are removed by zeros, which is the baseline of the encoding. ``Completeness`` allows for float32 rounding,
    which Quantus does not.

    Raises:
        ImportError: if Quantus is not installed.

    Reference:
        Hedström et al.: Quantus (JMLR 2023, arXiv 2202.06861), which names the paper of each metric.
    """
    quantus = _quantus()
    channels, height, width = network.input_shape[1:]
    step = _divisor(height * width, height * width // 8)  # Quantus' rule: it must divide the number of pixels
    patch = _divisor(math.gcd(height, width), min(height, width) // 4)
    removed = {"perturb_baseline": 0.0, "disable_warnings": True}
    noisy = {"nr_samples": 10, "disable_warnings": True}
    subset = max(1, channels * height * width // 4)
    return {
        # Faithfulness: do logits change as attributions say?
        "PixelFlipping": quantus.PixelFlipping(features_in_step=step, **removed),
        "Selectivity": quantus.Selectivity(patch_size=patch, **removed),
        "FaithfulnessCorrelation": quantus.FaithfulnessCorrelation(
            nr_runs=50, subset_size=subset, return_aggregate=False, **removed
        ),
        "FaithfulnessEstimate": quantus.FaithfulnessEstimate(features_in_step=step, **removed),
        # Robustness: do attributions change little with noise?
        "MaxSensitivity": quantus.MaxSensitivity(**noisy),
        "AvgSensitivity": quantus.AvgSensitivity(**noisy),
        "LocalLipschitzEstimate": quantus.LocalLipschitzEstimate(**noisy),
        # Complexity: are few values large?
        "Sparseness": quantus.Sparseness(disable_warnings=True),
        "Complexity": quantus.Complexity(disable_warnings=True),
        # Randomization: do attributions depend on the class, and on the weights?
        "RandomLogit": quantus.RandomLogit(num_classes=network.output_shape[-1], disable_warnings=True),
        "MPRT": quantus.MPRT(return_last_correlation=True, disable_warnings=True),
        # Axioms: do attributions sum to the logit less that of the baseline?
        "Completeness": quantus.Completeness(normalise=False, output_func=_Rounded, **removed),
    }


def _divisor(number, largest):
    """Return the largest divisor of a number that is at most ``largest``, and at least 1."""
    return next(d for d in range(max(1, largest), 0, -1) if number % d == 0)


def _quantus():
    return import_optional("quantus", extra="quantus", purpose="Scoring maps by Quantus' metrics", package="Quantus")


def quantus_scores(
    model: keras.Model,
    images,
    labels,
    methods: Sequence[str | Explainer] | None = None,
    *,
    metrics: Mapping[str, Any] | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> QuantusScores:
    """Score exact contribution maps and other explainers by metrics of Quantus, for the same images and random numbers.

    What is explained is the logit of the label's class. Metrics get logits, not probabilities.

    Args:
        model: an explainable model, see :func:`keras_coda.explain`.
        images: ``(B, H, W, c)``, any real dtype, pixels in [0, 255]. Some metrics need memory and time for all of them
            at once.
        labels: ``(B,)`` ints, or one-hot.
        methods: names among :func:`keras_coda.posthoc.methods`, or explainers, see :func:`quantus_explainer`. None: all
            of that list. The exact maps always come first.
        metrics: metrics of Quantus by name, which must give a score or a curve for each image. None: those of
            :func:`quantus_metrics`.
        seed: int, of NumPy's global random numbers, which Quantus uses; their state is restored.
        verbose: whether to show a progress bar.

    Returns:
        :class:`QuantusScores`.

    Raises:
        ImportError: if Quantus is not installed, or on TensorFlow tf-explain for the methods.
        ValueError: for wrong images, labels and methods, and metrics that give something else than a score per image.
    """
    _quantus()
    seed = check_int("seed", seed, minimum=0)
    network, x_batch = quantus_inputs(model, images)
    labels = class_labels(labels, network.output_shape[-1], len(x_batch))
    explainers = [quantus_explainer(each) for each in (None, *(all_methods() if methods is None else methods))]
    metrics = quantus_metrics(network) if metrics is None else metrics
    results: dict[str, tuple[QuantusResult, ...]] = {}
    before = np.random.get_state()
    try:
        with Progress(len(metrics) * len(explainers), "score", verbose) as progress, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The settings for perturbing")  # of values that were zero before
            for name, metric in metrics.items():
                found = []
                for explain_func in explainers:
                    np.random.seed(seed)
                    scores = metric(
                        model=network,
                        x_batch=x_batch.copy(),
                        y_batch=labels.copy(),
                        explain_func=explain_func,
                        channel_first=True,
                        softmax=False,
                    )
                    values = _one_each(name, scores, len(labels))
                    direction = metric.score_direction.value
                    found.append(QuantusResult(explain_func.__name__, len(labels), name, direction, values))
                    progress.add()
                results[name] = tuple(found)
    finally:
        np.random.set_state(before)
    return QuantusScores(results)


def _one_each(name, scores, number):
    """Return one score per image, ``(number,)`` float64."""
    rule = f"The metric {name!r} must give a score, or a curve, for each image"
    fix = "Pass its argument for scores of each image, such as `return_aggregate=False`"
    require(not isinstance(scores, dict), rule, fix, scores=type(scores).__name__)
    values = np.asarray(scores, "float64")
    require(values.ndim in (1, 2) and len(values) == number, rule, fix, shape=values.shape, images=number)
    return values if values.ndim == 1 else values.mean(axis=1)
