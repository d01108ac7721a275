"""Random mutations of files and answers: each must end in a right result, or in a documented error.

``python -m experiments.reliability fuzz`` runs them by the hundred, the tests a few of each kind.
"""

import contextlib
import copy
import hashlib
import http.server
import io
import json
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_coda import CoDANet, Explanation
from keras_coda.data.folders import check_image
from keras_coda.data.images import fitting, read_image
from keras_coda.explanations import explain_files
from keras_coda.exporters import schema
from keras_coda.exporters.decoding import decode_pixels
from keras_coda.models import UnreadableFileError, load_coda_checkpoint, presets
from keras_coda.models.files import load_keras_file
from keras_coda.models.weights_files import array_shapes
from keras_coda.serving import RestClient, ServingError
from keras_coda.training import checkpointing
from keras_coda.utils.errors import UnreadableImageError

RIGHT, REFUSED = "right", "refused"
ODD = (None, True, False, 0, -1, 1, 3, 100, 5000, 10**9, 10**30, 2**31, 2**32 + 3, 2**64, -(2**63), 0.5, 1e-320, 1e308,
       float("nan"), float("inf"), "", "x", "10", "\ud800", "9" * 400, [], [1], [[]], [3, 3], [[1, 2], [3]], {},
       {"b64": "AA=="}, {"module": "os", "class_name": "system", "config": "true"})  # fmt: skip


def network() -> CoDANet:
    """Return a small network for gray images of 8x8 pixels."""
    return CoDANet(3, input_shape=(8, 8, 1), filters=(4, 3), ranks=2, strides=1, class_names=("a", "b", "c"))


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return bytes that were cut off, overwritten, moved, repeated, or are others altogether."""
    content, length = bytearray(data), len(data)
    kind = rng.randrange(8)
    start, other = rng.randrange(length), rng.randrange(length)
    if kind == 0:
        del content[start:]
    elif kind in (1, 2):  # anywhere, or among the first
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(length if kind == 1 else min(length, 40))] = rng.randrange(256)
    elif kind == 3:
        content[start:start] = rng.randbytes(rng.randint(1, 64))
    elif kind == 4:
        del content[start : start + rng.randint(1, 64)]
    elif kind == 5:
        content[start : start + 16] = content[other : other + 16]
    elif kind == 6:
        content += content[:start]
    else:
        content = bytearray(rng.randbytes(rng.randrange(200)))
    return bytes(content)


def mutated_json(rng: random.Random, value):
    """Return a copy of a JSON value with something in it deleted, or replaced by something odd."""
    value = copy.deepcopy(value)
    node = value
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not (isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.6):
            break
        node = node[key]
    if rng.random() < 0.15:
        del node[key]
    else:
        node[key] = rng.choice(ODD)
    return value


class Images:
    """Image files: decoded alike by `read_image`, by folders and by exported networks, or refused."""

    def __init__(self, folder: Path, explained: bool = False):
        self._model = network() if explained else None
        self._folder, pixels = folder, np.random.default_rng(0).integers(0, 256, (9, 13, 3), "uint8")
        self._files = []
        for kind, modes in {"PNG": ("RGB", "L", "P", "RGBA", "1"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P", "L"),
                            "BMP": ("RGB", "L", "P")}.items():  # fmt: skip
            for mode in modes:
                file = io.BytesIO()
                Image.fromarray(pixels).convert(mode).save(file, kind)
                self._files.append(file.getvalue())
        self._decode = tf.function(lambda file: decode_pixels(file, 3), input_signature=[tf.TensorSpec((), tf.string)])

    def case(self, rng: random.Random) -> str:
        """Decode a mutated file in three ways."""
        content, path = mutated(rng, rng.choice(self._files)), self._folder / "image"
        path.write_bytes(content)
        try:
            served = self._decode(tf.constant(content)).numpy()
        except tf.errors.InvalidArgumentError:
            served = None
        try:
            check_image(path)
        except UnreadableImageError:
            # TensorFlow's decoder of GIF takes what is left of a damaged one; nothing else could be compared with it.
            assert served is None or content[:3] == b"GIF", "folders refuse what exported networks decode"
            try:
                read_image(content, 3)
            except UnreadableImageError:
                return REFUSED
            raise AssertionError("folders refuse what `read_image` decodes") from None
        if self._model:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):  # progress
                explain_files(self._model, [path], self._folder / "out", overwrite=True)
            found = Explanation.load(self._folder / "out" / "image.npz")
            np.testing.assert_array_equal(found.images[0], fitting((8, 8))(read_image(path, 1)))
        pixels = read_image(path, 3)
        assert pixels.dtype in (np.uint8, np.float32)  # the latter for 16 bits per channel
        assert served is None or np.array_equal(served, pixels), "exported networks see other pixels"
        return RIGHT


class Presets:
    """Preset folders: they load with their own weights, or are refused; nothing is built that has no weights."""

    def __init__(self, folder: Path):
        self._folder, whole = folder / "mutated", folder / "whole"
        original = network()
        original.save_to_preset(whole)
        self._weights = original.get_weights()
        self._config = json.loads((whole / presets.CONFIG_FILE).read_text())
        self._bytes = (whole / presets.WEIGHTS_FILE).read_bytes()

    def case(self, rng: random.Random) -> str:
        """Load a folder of which the configuration, its text, or the weights were mutated."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        contents, weights, kind = self._config, self._bytes, rng.randrange(4)
        if kind <= 1:
            contents = mutated_json(rng, contents) if rng.random() < 0.2 else {
                **contents, "config": mutated_json(rng, contents["config"])}  # fmt: skip
        text = json.dumps(contents).encode()
        if kind == 2:
            text = mutated(rng, text)
        if kind == 3:
            weights = mutated(rng, weights)
            text = json.dumps({**contents, "weights_sha256": hashlib.sha256(weights).hexdigest()}).encode()
        (self._folder / presets.CONFIG_FILE).write_bytes(text)
        (self._folder / presets.WEIGHTS_FILE).write_bytes(weights)
        overrides = {"temperature": 3.0} if rng.random() < 0.3 else {}
        try:
            loaded = CoDANet.from_preset(self._folder, **overrides).get_weights()
        except UnreadableFileError:
            return REFUSED
        except ValueError as error:
            if not overrides and "registered" not in str(error):
                raise AssertionError(f"the error has no type of its own: {error}") from error
            return REFUSED
        same = all(map(np.array_equal, loaded, self._weights)) and len(loaded) == len(self._weights)
        assert same or kind == 3, "other weights were loaded"
        return RIGHT


class Checkpoints:
    """State dicts, backups of trainings, Keras files, and explanations."""

    def __init__(self, folder: Path):
        self._folder, self._model = folder, network()
        rng, channels, state = np.random.default_rng(0), 2, {}
        for index, units in enumerate((4, 3)):
            shapes = {"0.weight": (2, channels, 3, 3), "1.weight": (9 * channels * units, 2, 1, 1)}
            shapes["1.bias"] = shapes["1.weight"][:1]
            state |= {f"{index}.weight_mod.weighting_f.{k}": rng.random(s, "float32") for k, s in shapes.items()}
            channels = units
        np.savez(folder / "state.npz", **state, **{"config/strides": 1})
        self._backup = folder / "run" / checkpointing.BACKUPS / "epoch-000001" / "training.weights.h5"
        self._backup.parent.mkdir(parents=True)
        self._model.optimizer.build(self._model.trainable_variables)
        self._model.save_weights(self._backup)
        self._model.explain(np.zeros((1, 8, 8, 1), "uint8"), verbose=False).save(folder / "explanation.npz")
        self._model.save(folder / "model.keras")
        self._files = {
            folder / "state.npz": lambda path: load_coda_checkpoint(path),
            self._backup: lambda path: checkpointing.restore(self._model, folder / "run"),
            folder / "explanation.npz": Explanation.load,
            folder / "model.keras": load_keras_file,
        }
        self._contents = {path: path.read_bytes() for path in self._files}

    def case(self, rng: random.Random) -> str:
        """Load a mutated file."""
        path = rng.choice(list(self._files))
        path.write_bytes(mutated(rng, self._contents[path]))
        try:
            self._files[path](path)
        except UnreadableFileError:
            return REFUSED
        except (ImportError, ValueError):  # a file of PyTorch perhaps; keys and shapes of other networks
            if path.name != "state.npz":
                raise
            return REFUSED
        finally:
            path.write_bytes(self._contents[path])
        if path == self._backup:
            array_shapes(path)
        return RIGHT


class Answers:
    """Answers of a model server over HTTP: right, or refused by the client."""

    def __init__(self, folder: Path):
        model, self._images = network(), np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1)).astype("float32")
        found = model.explain(self._images, top_k=2, verbose=False)
        names, top = (
            np.take(model.class_names, found.classes),
            np.take_along_axis(found.probabilities, found.classes, 1),
        )
        both = {"logits": found.logits, "probabilities": found.probabilities}
        maps = {"classes": found.classes, "class_names": names, "contributions": found.contributions}
        answers = {
            "explain": {**both, **maps, "residual": found.residual, "bias": np.full(2, found.bias)},
            "predict": {**both, "top_classes": found.classes, "top_probabilities": top, "top_class_names": names},
        }
        self._right = {
            call: {"outputs": {name: array.tolist() for name, array in outputs.items()}}
            for call, outputs in answers.items()
        }
        shape = {"dim": [{"size": str(size)} for size in (-1, 8, 8, 1)]}
        signature = {"inputs": {"images": {"dtype": "DT_FLOAT", "tensor_shape": shape}}}
        definitions = dict.fromkeys((schema.PREDICT, schema.EXPLAIN), signature)
        metadata = {"model_spec": {"name": "m", "version": "1"}}
        self._metadata = {**metadata, "metadata": {"signature_def": {"signature_def": definitions}}}
        self._server = _Server(json.dumps(self._metadata).encode())
        self._client = RestClient(self._server.address, "m", timeout=30, retries=0)
        for call in self._right:  # both are right before they are mutated
            self._answer(call, json.dumps(self._right[call]).encode(), self._client)

    def _answer(self, call, text, client):
        self._server.answer = text
        return getattr(client, call)(self._images)

    def case(self, rng: random.Random) -> str:
        """Send a mutated answer."""
        call = rng.choice(("explain", "predict"))
        answer = self._right[call]
        text = json.dumps(mutated_json(rng, answer) if rng.random() < 0.7 else answer).encode()
        text = text if rng.random() < 0.6 else mutated(rng, text)
        self._server.metadata = json.dumps(self._metadata).encode()
        client = self._client
        if rng.random() < 0.2:  # a new client asks for metadata
            client = RestClient(self._server.address, "m", timeout=30, retries=0)
            self._server.metadata = json.dumps(mutated_json(rng, self._metadata)).encode()
        try:
            found = self._answer(call, text, client)
        except ServingError:
            return REFUSED
        if call == "explain":
            total = found.contributions.sum((2, 3), dtype="float64") + found.bias
            allowed = 1e-4 * (1 + np.abs(found.contributions).sum((2, 3)))
            assert (np.abs(total - found.explained_logits) <= allowed).all(), "maps are not complete"
        assert np.isfinite(found.logits).all()
        return RIGHT


class _Server:
    """Answers GET with ``metadata`` and POST with ``answer``."""

    def __init__(self, metadata: bytes):
        self.metadata, self.answer, outer = metadata, b"", self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _reply(self, body):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self._reply(outer.metadata)

            def do_POST(self):
                self._reply(outer.answer)

            def log_message(self, *_):
                """Log nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{server.server_port}"


class ExplainedImages(Images):
    """The same, and those that can be read are explained by `explain_files`."""

    def __init__(self, folder: Path):
        super().__init__(folder, explained=True)


KINDS = {"images": ExplainedImages, "presets": Presets, "checkpoints": Checkpoints, "answers": Answers}


def run(kind: str, number: int, folder: Path, seed: int = 0, progress=lambda: None) -> tuple[dict, list[str]]:
    """Try a number of mutations of one kind.

    Args:
        kind: one of ``KINDS``.
        number: of mutations.
        folder: an empty one, for files.
        seed: of the random numbers; case ``i`` is the same for every ``number``.
        progress: called after each.

    Returns:
        ``(counts, problems)``: how many were right or refused, and a line for every other end.
    """
    cases = KINDS[kind](folder)
    counts, problems = {RIGHT: 0, REFUSED: 0}, []
    for index in range(number):
        try:
            counts[cases.case(random.Random(f"{kind} {seed} {index}"))] += 1
        except Exception as error:
            problems.append(f"{kind} {index}: {type(error).__name__}: {str(error)[:300]}")
        progress()
    return counts, problems
