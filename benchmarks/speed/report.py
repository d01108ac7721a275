"""Writes ``benchmarks/README.md`` from the results: what was measured, how, and what limits it."""

from benchmarks import records
from benchmarks.speed import growth, limits, sections

_INTRODUCTION = """# Benchmarks

*Written by `python -m benchmarks report` from `results/*.json`; do not edit.*

    make benchmark                              # everything, then this page
    python -m benchmarks table hlo              # some parts: table growth startup streaming hlo precision report
    python -m benchmarks --quick                # few repetitions, to check that everything runs; not for reports

The clients of a model server and other runtimes (ONNX Runtime, OpenVINO, LiteRT) are measured in
[SERVING.md](SERVING.md). [GPU.md](GPU.md) describes how to train and measure on a machine with a GPU and JAX only.
[CHANGES.md](CHANGES.md) compares speed with an earlier commit.

"""

_METHOD = """## How it is measured

- **Time.** In one process, after warm-up, the variants are timed in turn: A, B, C, A, B, C, ... Tables give the median
  and, in parentheses, the best time. Ratios and shares of the peak are computed within each round, and the table gives
  the median of the rounds (in parentheses: the ratio of the best times). A disturbance that slows a whole round then
  cancels. Times of different runs must not be divided by each other.
- **Work.** The functions that a user calls: `train_on_batch` (with Adam, loss and accuracy), `predict_on_batch` and
  `explain`, with NumPy arrays as input and output. Images and weights are random.
- **The textbook** ([speed/textbook.py](speed/textbook.py)) builds the weights `w_j(x) = g(A_j B x + b_j)` of every unit
  at every location, as the paper writes it. It uses the same variables, graph mode and large matrix products: `B x` is
  a convolution, all `A_j (B x) + b_j` are one matrix product, and `w_jᵀ x` is a matrix-vector product. It trains by
  automatic differentiation; its maps are gradients with frozen weights. A more literal or an eager version would be
  slower.
- **The peak** is the rate of the fastest of three `tf.matmul`s (2048³, 8192×2048×2048, 4096³; float32), timed in turn
  with everything else. Shares of the peak count only the *necessary* operations ([speed/flops.py](speed/flops.py)):
  matrix products, without elementwise work, and without anything that an implementation computes twice.
- **Memory** is `VmHWM` after a few calls, minus its value after all imports. Every figure comes from a fresh process
  (two run at a time). It includes weights, the optimizer's state and whatever the allocators keep. 1 MB is 2²⁰ bytes.
- `mixed_bfloat16` rows are compared with the float32 peak.
"""


PAGE = records.RESULTS.parent / "README.md"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote benchmarks/{PAGE.name}; picture: results/{growth.PICTURE}")


def page() -> str:
    """Return the page, made from the parts that have results."""
    text, contents = _INTRODUCTION, {}
    for part in sections.SECTIONS:
        contents[part] = records.read(part)
    text += records.machines({part: each for part, each in contents.items() if each})
    text += "Two cores that are shared with other work are slower at times. Therefore times are taken in turn.\n\n"
    if contents["table"]:
        text += limits.limits({part: each and each["results"] for part, each in contents.items()})
    text += _METHOD
    for part, section in sections.SECTIONS.items():
        if contents[part]:
            text += "\n" + section(contents[part]["results"])
    return text
