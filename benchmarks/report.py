"""Writes ``benchmarks/README.md`` from the results: what is measured, how, what came out, and what was missed."""

from pathlib import Path

from benchmarks import growth, records, sections, targets

_INTRODUCTION = """# Benchmarks

*Written by `python -m benchmarks report` from `results/*.json`; do not edit.*

    make benchmark                              # everything, then this page
    python -m benchmarks table hlo              # some parts: table growth startup streaming hlo precision report
    python -m benchmarks --quick                # few repetitions: to see whether it works, not to report

"""

_METHOD = """## How it is measured

- **Time** is taken in turn, A, B, C, A, B, C, ..., within one process, warm; tables give medians and, in parentheses,
  the best. Ratios and shares of the peak are medians of those of each round (in parentheses: of the best times), so
  that what slows a whole round does not count. Times of different runs must not be divided by each other.
- What is timed is what a user calls: `train_on_batch` (Adam, loss and accuracy included), `predict_on_batch`,
  `explain`, with NumPy arrays in and out. Random images, random weights.
- **The textbook** ([textbook.py](textbook.py)) builds the weights `w_j(x) = g(A_j B x + b_j)` of every unit at every
  location, as the paper writes it, over the same variables, in graph mode and by large matrix products: `B x` is a
  convolution, all `A_j (B x) + b_j` one matrix product, `w_jᵀ x` a matrix-vector product. It trains by automatic
  differentiation; its maps are gradients with the weights frozen. A more literal or an eager one would be slower.
- **The peak** is the rate of the fastest of three `tf.matmul`s (2048³, 8192×2048×2048, 4096³; float32), timed in turn
  with all the rest. Percentages of it are those of the *necessary* operations, counted in [flops.py](flops.py): matrix
  products only, nothing for elementwise work, nor for what an implementation computes twice.
- **Memory** is `VmHWM` after a few calls in a fresh process each (two at a time), less what it was after all
  imports; it includes weights, optimizer and whatever the allocators keep. MB are 2²⁰ bytes.
- `mixed_bfloat16` rows stand beside the float32 peak.
"""


def write() -> None:
    """Write the page from the parts that have results."""
    text, contents = _INTRODUCTION, {}
    for part in ("table", "growth", "startup", "streaming", "hlo", "precision"):
        contents[part] = records.read(part)
    text += machines({part: each for part, each in contents.items() if each})
    text += "Two cores shared with others slow everything down at times; that is why times are taken in turn.\n\n"
    if contents["table"]:
        text += targets.targets({part: each and each["results"] for part, each in contents.items()})
    text += _METHOD
    for part, section in sections.SECTIONS.items():
        if contents[part]:
            text += "\n" + section(contents[part]["results"])
    path = Path(__file__).parent / "README.md"
    path.write_text(text, encoding="utf-8")
    print(f"wrote benchmarks/{path.name}; picture: results/{growth.PICTURE}")


def machines(contents: dict) -> str:
    """Machines, commands and dates of records, as Markdown."""
    described = {}
    for part, each in contents.items():
        extensions = ", ".join(each["extensions"]) or "no vector extensions known"
        versions = ", ".join(f"{name} {number}" for name, number in each["versions"].items())
        described[part] = f"{each['cores']} cores, {each['cpu']} ({extensions}); Python {each['python']}, {versions}"
    found = sorted(set(described.values()))
    rows = []
    for part, each in contents.items():
        load = "unknown" if each["load_before"] is None else each["load_before"]
        note = each.get("note", "quick" if each["quick"] else "")
        machine, command = found.index(described[part]) + 1, f"`{each['command']}`"
        rows.append((part, machine, command, each["date"], f"{each['seconds']} s", load, note))
    text = "## Machine and runs\n\n"
    text += "\n".join(f"{number}. {machine}" for number, machine in enumerate(found, 1)) + "\n\n"
    text += sections.markdown(("part", "machine", "command", "date", "took", "load before", ""), rows)
    return text + "\n"
