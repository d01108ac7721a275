"""Other runtimes compared with Keras, as a Markdown table: ``python -m benchmarks.runtimes [--quick] [preset ...]``.

Every runtime predicts and explains the three most probable classes of the same images, in turn, in one process. Before
the timing, its logits and maps are compared with those of Keras.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import datetime
import functools
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.records import machine
from benchmarks.speed import measure
from keras_coda import CoDANet

TOP_K = 3
BATCHES = (1, 32)
PRESETS = ("coda_digits", "coda_xs_cifar10")
LIBRARIES = ("keras-coda", "keras", "tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert", "openvino")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument("presets", nargs="*", default=PRESETS, help="trained networks")
    parser.add_argument("--quick", action="store_true", help="few repetitions: to see whether it works, not to report")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    sections = [section(preset, rounds=5 if args.quick else 40) for preset in args.presets]
    facts = machine()
    print(f"- Command: `{' '.join(['python -m benchmarks.runtimes', *sys.argv[1:]])}`")
    print(f"- Machine: {facts['cores']} cores, {facts['cpu']}; load before: {load:.2f}")
    print(f"- Date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC")
    print(f"- Versions: {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}")
    print("\n".join(sections))
    return 0


def section(preset: str, rounds: int) -> str:
    """Return the Markdown of one network."""
    model = CoDANet.from_preset(preset)
    with tempfile.TemporaryDirectory() as folder:
        files = convert(model, Path(folder))
        runners = {"Keras `explain`": keras_runner(model), **load(files)}
    lines = [f"\n## `{preset}`: prediction and {TOP_K} maps\n", *_table_of_files(model, files)]
    lines += [
        "",
        "| runtime | batch | largest difference | ms | times Keras' | best |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for batch in BATCHES:
        images = np.random.default_rng(batch).integers(0, 256, (batch, *model.input_shape[1:])).astype("float32")
        explanation = model.explain(images, top_k=TOP_K, verbose=False)
        differences = {name: difference(run(images), explanation) for name, run in runners.items()}
        calls = {name: functools.partial(run, images) for name, run in runners.items()}
        seconds = measure.interleave(calls, rounds, warmups=3)
        for name in runners:
            ratio = measure.ratio(seconds, name, "Keras `explain`")
            took = 1e3 * measure.median(seconds[name])
            lines.append(
                f"| {name} | {batch} | {differences[name]:.1e} | {took:.2f} "
                f"| {ratio['median']:.2f} | {ratio['best']:.2f} |"
            )
    return "\n".join(lines)


def convert(model, folder: Path) -> dict[str, dict]:
    """Write the network in all formats; return path, seconds and bytes of each."""
    files = {}
    for format, name in (("tf_saved_model", "saved_model"), ("onnx", "coda.onnx"), ("litert", "coda.tflite")):
        options, start = ({"warmup": False} if format == "tf_saved_model" else {}), time.perf_counter()
        model.export(folder / name, format=format, top_k=TOP_K, **options)
        seconds = time.perf_counter() - start
        parts = [folder / name, *(folder / name).rglob("*")]
        size = sum(part.stat().st_size for part in parts if part.is_file())
        files[format] = {"path": folder / name, "seconds": seconds, "bytes": size}
    return files


def load(files: dict[str, dict]) -> dict:
    """Return a function from images to outputs, by runtime; each reads its file whole."""
    saved_model, onnx, litert = (files[format]["path"] for format in ("tf_saved_model", "onnx", "litert"))
    return {
        "SavedModel in TensorFlow": saved_model_runner(saved_model),
        "ONNX in ONNX Runtime": onnx_runner(onnx),
        "ONNX in OpenVINO": openvino_runner(onnx),
        "LiteRT, 2 threads": litert_runner(litert),
    }


def keras_runner(model):
    """``model.explain``, its checks of the images included."""

    def run(images):
        explanation = model.explain(images, top_k=TOP_K, verbose=False)
        return {name: getattr(explanation, name) for name in ("logits", "classes", "contributions")}

    return run


def saved_model_runner(folder: Path):
    """The signature ``contributions``."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def run(images):
        outputs = loaded.signatures["contributions"](images=tf.constant(images))
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def onnx_runner(file: Path):
    """ONNX Runtime, but that its threads do not spin when it is another runtime's turn."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))


def openvino_runner(file: Path):
    """OpenVINO in float32: by default it rounds to bfloat16 where the CPU can."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file.read_bytes()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images):
        answer = compiled({"images": images})
        return {name: answer[compiled.output(name)] for name in ("logits", "classes", "contributions")}

    return run


def litert_runner(file: Path):
    """The LiteRT interpreter with its CPU delegate."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file.read_bytes(), num_threads=2)
    run = interpreter.get_signature_runner("contributions")
    return lambda images: run(images=images)


def difference(outputs: dict, explanation) -> float:
    """Largest difference of logits and maps, of the largest value each; the classes must be the same."""
    np.testing.assert_array_equal(outputs["classes"], explanation.classes)
    pairs = [(outputs[name], getattr(explanation, name)) for name in ("logits", "contributions")]
    return max(float(np.abs(got - expected).max() / np.abs(expected).max()) for got, expected in pairs)


def _table_of_files(model, files) -> list[str]:
    weights = 4 * model.count_params()
    rows = ["| file | MB | times the weights | conversion, s |", "|---|---:|---:|---:|"]
    for format, each in files.items():
        size = each["bytes"]
        rows.append(f"| `{format}` | {size / 1e6:.2f} | {size / weights:.2f} | {each['seconds']:.1f} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
