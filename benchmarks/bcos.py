"""B-cos networks beside the authors' PyTorch package: predictions, maps and memory, measured in turn.

    python -m benchmarks.bcos --theirs venv-torch/bin/python     # an interpreter with torch, torchvision and bcos
    python -m benchmarks.bcos --network resnet18 --batch 1       # this package alone

Both networks have random weights and the same images of 224x224 pixels. Each round starts a new process for each; a
figure is the best of several calls in a process, and the table has the median over rounds. Theirs: a prediction without
gradients, and `explanation_mode()` with one backward pass for the predicted classes of the batch.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_COMMON = """
import json, resource, sys, time
import numpy as np
name, batch, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3)).astype("float32")
def speed(run):
    run()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return batch / min(seconds)
def report(predict, explain):
    found = {"prediction": speed(predict), "prediction and map": speed(explain)}
    found["peak, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found))
"""
_OURS = """
from keras_coda import ExplainableClassifier
model = ExplainableClassifier.from_preset(f"bcos_{name}", load_weights=False, input_shape=(224, 224, 3))
report(lambda: model.predict_on_batch(images), lambda: model.explain(images, verbose=False))
"""
_THEIRS = """
import bcos.models.densenet, bcos.models.resnet, torch
module = bcos.models.densenet if name.startswith("densenet") else bcos.models.resnet
model = getattr(module, name)(pretrained=False).eval()
x = torch.tensor(images / 255).permute(0, 3, 1, 2)
x = torch.cat([x, 1 - x], 1)
def predict():
    with torch.no_grad():
        model(x)
def explain():
    with model.explanation_mode():
        y = x.clone().requires_grad_(True)
        model(y).max(1).values.sum().backward(inputs=[y])
        (y * y.grad).sum(1)
report(predict, explain)
"""


def measure(python: str, program: str, *arguments: object) -> dict[str, float]:
    """Run a program in a new process, and return the figures that it prints last."""
    command = [python, "-c", _COMMON + program, *map(str, arguments)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(printed.strip().splitlines()[-1])


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bcos")
    parser.add_argument("--network", default="resnet50", help="an architecture of the paper (default: resnet50)")
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each package (default: 3)")
    parser.add_argument("--calls", type=int, default=8, help="calls in a process (default: 8)")
    parser.add_argument("--theirs", metavar="PYTHON", help="an interpreter with torch, torchvision and bcos")
    args = parser.parse_args()
    programs = {"keras_coda": (sys.executable, _OURS)} | ({"bcos": (args.theirs, _THEIRS)} if args.theirs else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
    for _ in range(args.rounds):
        for name, (python, program) in programs.items():
            found[name].append(measure(python, program, args.network, args.batch, args.calls))
    columns = list(found["keras_coda"][0])
    print(f"| {args.network}, batch {args.batch}, images/s | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, rounds in found.items():
        cells = [f"{statistics.median(each[column] for each in rounds):.1f}" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
