"""The base class of both clients: it checks requests, tries again, and checks answers."""

import abc
import time
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from keras_coda.explanations.explanation import Explanation
from keras_coda.serving.errors import AnswerTooLarge, DeadlineExceeded, InvalidRequest, ServingError
from keras_coda.serving.metadata import ModelMetadata, VersionStatus
from keras_coda.serving.requests import (
    Request,
    check_offered,
    explain_request,
    largest_answer,
    predict_request,
    signature_request,
)
from keras_coda.serving.responses import Prediction, read_explanation, read_outputs, read_prediction
from keras_coda.serving.retries import Retries
from keras_coda.utils.checks import check_finite, check_int, require
from keras_coda.utils.class_names import replace_names

_FIRST_POLL, _LONGEST_POLL = 0.05, 1.0  # seconds; the server itself looks for new versions every second


class Client(abc.ABC):
    """A client of one model on one server, safe to share among threads; close it, or use it with ``with``.

    Subclasses send the requests, :class:`RestClient` over REST and :class:`GrpcClient` over gRPC.

    Args:
        model: name of the model.
        version: int; None for the newest.
        label: name of a version instead.
        timeout: seconds for a whole call, with all its attempts. The operating system's look-up of the server's name
            may take longer.
        retries: attempts after the first, if the connection breaks or the server says that it is unavailable.
        backoff: seconds before the first of them; doubles each time, and is jittered.
        class_names: one name per class for explanations; None to use the names in the answers, which have only those
            of the classes explained.

    Raises:
        ValueError: for both version and label, and times that are not positive.
    """

    def __init__(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        backoff: float = 0.1,
        class_names: Sequence[str] | None = None,
    ):
        require(isinstance(model, str) and model, "`model` must be the name of a model", model=model)
        require(version is None or label is None, "Give `version` or `label`, not both", version=version, label=label)
        require(label is None or (isinstance(label, str) and label), "`label` must be a name", label=label)
        self.model, self.label = model, label
        self.version = None if version is None else check_int("version", version, 0)
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self._retries = Retries(timeout, retries, backoff)
        self._offered: ModelMetadata | None = None
        self._is_closed = False

    # === Calls of a user ===

    def predict(self, images) -> Prediction:
        """Predict.

        Args:
            images: ``(B, H, W, c)`` of any real dtype, pixels in [0, 255]. Or image files, which the server decodes
                and resizes: a path, the contents (bytes), or a list of them.

        Returns:
            A :class:`~keras_coda.serving.Prediction`.

        Raises:
            ValueError, TypeError: for images that are not as above; before anything is sent.
            InvalidRequest: if the server refuses them: another image size, files that are no images.
            ServingError: if there is no valid answer; its subclasses say why.
        """
        request = predict_request(images)
        return read_prediction(request, self._answer(request))

    def explain(self, images, classes=None) -> Explanation:
        """Explain predictions exactly.

        Args:
            images: as for :meth:`predict`.
            classes: None for the K most probable classes; an int for all images, ``(B,)`` for one per image, or
                ``(B, K)``. K is what the model was exported with (``top_k``). Names instead of ints, if the client was
                given ``class_names``.

        Returns:
            The same :class:`keras_coda.Explanation` as from the network itself. For image files, its ``images`` are
            the pictures as the server decoded and resized them.

        Raises:
            ValueError, TypeError: for arguments that are not as above; before anything is sent.
            InvalidRequest: if the server refuses them: another image size or K, classes out of range.
            IncompleteMaps: if contributions do not sum to their logit.
            ServingError: if there is no valid answer; its subclasses say why.
        """
        request = explain_request(images, replace_names(classes, self.class_names))
        return read_explanation(request, self._answer(request), self.class_names)

    def call(self, signature: str, images, **inputs) -> dict[str, np.ndarray]:
        """Call any signature of :mod:`keras_coda.exporters.schema`.

        Args:
            signature: its name, without ``_bytes``.
            images: as for :meth:`predict`.
            **inputs: the other inputs of the signature, with the batch axis first.

        Returns:
            All outputs by name. Shapes, dtypes and finite values are checked.

        Raises:
            ValueError, TypeError: for a signature or inputs that are not as above; before anything is sent.
            ServingError: if there is no valid answer; its subclasses say why.
        """
        request = signature_request(signature, images, inputs)
        return read_outputs(request, self._answer(request))

    def status(self) -> tuple[VersionStatus, ...]:
        """Return the state of each version, newest first; with ``version`` or ``label``, of that version only.

        Raises:
            ServingError: see :mod:`keras_coda.serving.errors`.
        """
        return self._call(self._status, self._retries.deadline())

    def metadata(self) -> ModelMetadata:
        """Return name, version and signatures of the model that answers.

        Raises:
            ServingError: see :mod:`keras_coda.serving.errors`.
        """
        self._offered = self._call(self._metadata, self._retries.deadline())
        return self._offered

    def wait_until_ready(self, timeout: float = 60.0) -> ModelMetadata:
        """Wait until the server has loaded the model, of the chosen version or label.

        Args:
            timeout: seconds.

        Returns:
            Its metadata.

        Raises:
            DeadlineExceeded: if it is not ready by then, with the server's last message.
        """
        deadline, pause = time.monotonic() + check_finite("timeout", timeout), _FIRST_POLL
        while True:
            try:
                self._offered = self._metadata(max(deadline - time.monotonic(), _FIRST_POLL))
                return self._offered
            except ServingError as error:
                if self._is_closed or time.monotonic() + pause >= deadline:
                    rule = f"'{self.model}' must be ready within {timeout:g} s"
                    raise DeadlineExceeded(f"{rule}. Received: {error}{self._load_errors(deadline)}") from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)

    def close(self) -> None:
        """Close the connection; further calls raise :class:`ServingError`."""
        if not self._is_closed:
            self._is_closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # === One attempt to send a request, within so many seconds ===

    @abc.abstractmethod
    def _predict(self, request: Request, seconds: float, most: int) -> Mapping:
        """Return the outputs, or raise ``AnswerTooLarge`` if they have more than ``most`` bytes."""

    @abc.abstractmethod
    def _status(self, seconds: float) -> tuple[VersionStatus, ...]: ...

    @abc.abstractmethod
    def _metadata(self, seconds: float) -> ModelMetadata: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    # === Retries and checks ===

    def _answer(self, request):
        deadline = self._retries.deadline()
        offered = self._check_offered(request, deadline)
        most = largest_answer(request, offered)
        try:
            return self._call(lambda seconds: self._predict(request, seconds, most), deadline)
        except AnswerTooLarge:  # perhaps that of a new version, with more classes
            self._offered = self._call(self._metadata, deadline)
            grown = largest_answer(request, self._offered)
            if grown <= most:
                raise
        return self._call(lambda seconds: self._predict(request, seconds, grown), deadline)

    def _check_offered(self, request, deadline) -> ModelMetadata:
        """Check shapes against the metadata of the model, read once, and again if there might be a new version."""
        if self._offered is not None:
            try:
                check_offered(request, self._offered)
                return self._offered
            except InvalidRequest:
                pass
        self._offered = self._call(self._metadata, deadline)
        check_offered(request, self._offered)
        return self._offered

    def _call(self, attempt, deadline):
        if self._is_closed:
            raise ServingError(f"This client is closed. Received: a request for '{self.model}'. Open another")
        return self._retries.call(attempt, deadline)

    def _load_errors(self, deadline) -> str:
        """Return the reasons why versions could not be loaded, if the server knows them and tells them in time."""
        try:
            statuses = self._status(max(deadline - time.monotonic(), _FIRST_POLL))
            found = [f"version {status.version}: {status.error}" for status in statuses if status.error]
        except ServingError:
            found = []
        return f" ({'; '.join(found)})" if found else ""
