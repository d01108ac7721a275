"""What MLflow runs when it loads a logged network. No other module imports this file: MLflow keeps a copy beside it.

It needs MLflow, NumPy and TensorFlow, but not this package.
"""

import numpy as np
from mlflow.exceptions import MlflowException  # noqa: TID253 - only MLflow runs this file
from mlflow.models import set_model  # noqa: TID253
from mlflow.pyfunc import PythonModel  # noqa: TID253

BATCH = 32  # images at a time
PER_CLASS = ("classes", "class_names", "contributions", "residual", "offsets", "linear_map")  # axes: image, class


class ContributionMaps(PythonModel):
    """Predictions and contribution maps of images, from a SavedModel."""

    def load_context(self, context):
        """Load the SavedModel."""
        import tensorflow as tf

        self._network = tf.saved_model.load(context.artifacts["saved_model"])
        self._signatures = self._network.signatures
        outputs = self._signatures["contributions"].structured_outputs
        self._exported, self._num_classes = outputs["contributions"].shape[1], outputs["logits"].shape[1]

    def predict(self, context, model_input, params=None):
        """Return outputs by name.

        Args:
            context: unused.
            model_input: images ``(B, H, W, c)`` float32, pixels in [0, 255].
            params: ``maps``, whether to explain; ``classes``, those to explain in every image; if there are none,
                ``top``, the number of most probable classes to explain.
        """
        images = np.asarray(model_input, "float32")
        params = params or {}
        classes = [int(label) for label in params.get("classes", ())]
        top = int(params.get("top", self._exported))
        self._check(images, classes, top)
        explain = bool(params.get("maps", True))
        parts = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            parts.append(self._explain(part, classes, top) if explain else self._predict(part))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check(self, images, classes, top):
        rule = "Images must have shape (batch, height, width, channels)"
        _require(images.ndim == 4 and len(images), rule, shape=images.shape)
        is_pixel = bool(((images >= 0) & (images <= 255)).all())  # false for NaN
        _require(is_pixel, "Images must be finite, pixels in [0, 255]", least=images.min(), largest=images.max())
        count = self._num_classes
        are_known = all(0 <= label < count for label in classes)
        _require(are_known, f"`classes` must be in [0, {count})", classes=classes)
        _require(1 <= top <= count, f"`top` must be in [1, {count}]", top=top)

    def _predict(self, images):
        outputs = self._call("serving_default", images)
        return {name: value for name, value in outputs.items() if not name.startswith("top_")}

    def _explain(self, images, classes, top):
        if not classes and top == self._exported:
            return self._call("contributions", images)
        if classes:
            wanted = np.broadcast_to(np.array(classes, "int32"), (len(images), len(classes)))
        else:
            logits = self._call("serving_default", images)["logits"]
            wanted = np.argsort(-logits, axis=1, kind="stable")[:, :top].astype("int32")
        groups = []
        for start in range(0, wanted.shape[1], self._exported):  # the SavedModel explains so many at a time
            group = wanted[:, start : start + self._exported]
            filled = np.concatenate([group, np.repeat(group[:, :1], self._exported - group.shape[1], axis=1)], axis=1)
            outputs = self._call("contributions_for_classes", images, filled)
            cut = {name: outputs[name][:, : group.shape[1]] for name in PER_CLASS if name in outputs}
            groups.append({**outputs, **cut})
        return {
            name: np.concatenate([group[name] for group in groups], axis=1) if name in PER_CLASS else value
            for name, value in groups[0].items()
        }

    def _call(self, name, images, classes=None):
        import tensorflow as tf

        given = {"images": images} if classes is None else {"images": images, "classes": classes}
        try:
            outputs = self._signatures[name](**{key: tf.constant(value) for key, value in given.items()})
        except tf.errors.InvalidArgumentError as error:
            raise MlflowException.invalid_parameter_value(error.message.splitlines()[0]) from error
        answer = {key: tensor.numpy() for key, tensor in outputs.items()}
        if "class_names" in answer:
            answer["class_names"] = np.char.decode(answer["class_names"].astype("S"), "utf-8")
        return answer


def _require(condition, rule, **received):
    if not condition:
        values = ", ".join(f"{name}={value}" for name, value in received.items())
        raise MlflowException.invalid_parameter_value(f"{rule}. Received: {values}")


set_model(ContributionMaps())
