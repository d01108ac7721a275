"""The sections of the report; each is written from the results of one part."""

from benchmarks.records import markdown
from benchmarks.speed import growth
from benchmarks.speed.programs import LARGE
from benchmarks.speed.table import BATCH


def _times(values, digits=2) -> str:
    return f"{values['median']:.{digits}f}× ({values['best']:.{digits}f}×)"


def _percent(values) -> str:
    return f"{100 * values['median']:.0f} % ({100 * values['best']:.0f} %)"


def _memory(row) -> str:
    return f"{row['memory']['per_image']:.1f}" if "memory" in row else ""


def table(results) -> str:
    """The main table of each network."""
    text = "## Training, prediction, explanation\n"
    for preset, result in results.items():
        agreement = " and ".join(f"{value:.0e} ({name})" for name, value in result["agreement"].items())
        counts = ", ".join(f"{kind} {count:.2f}" for kind, count in result["gflops_per_image"].items())
        text += (
            f"\n### `{preset}`, batch {BATCH}\n\n{result['parameters']:,} parameters; "
            f"necessary GFLOP per image: {counts}. "
            f"Peak of this run: {result['peak_gflops']['median']:.0f} GFLOP/s ({result['peak_gflops']['best']:.0f}); "
            f"{result['rounds']} rounds. Package and textbook agree to "
            f"{agreement}, relative to the largest.\n\n"
        )
        main, variants = [], []
        for row in result["rows"]:
            speed = f"{row['images_per_second']['median']:.1f} ({row['images_per_second']['best']:.1f})"
            faster = _times(row["speedup"])
            cells = (row["name"], speed, faster, _percent(row["of_peak"]), _times(row["to_prediction"]), _memory(row))
            if row["name"] == row["kind"] or row["name"].startswith("textbook"):
                main.append((*cells[:2], "" if row["name"].startswith("textbook") else faster, *cells[3:]))
            else:
                variants.append((cells[0], *cells[1:]))
        columns = ("images/s", "speed against {}", "of the peak", "time of a prediction", "MB per image")
        text += markdown(("", *(c.format("the textbook") for c in columns)), main)
        text += "\nVariants, against the same work by default (float32, graph mode):\n\n"
        text += markdown(("", *(c.format("default") for c in columns)), variants)
    return text + (
        "\n*One map*, *ten maps*: prediction and maps together. *accumulating training*: "
        "`Adam(gradient_accumulation_steps=2)` with batches of half the size, which needs less memory; two batches are "
        "counted as one step of 32 images. *XLA*: `jit_compile=True`; [Starting](#starting) has its first calls.\n"
    )


def grown(results) -> str:
    """The growth plots."""
    text = f"## How cost grows\n\n![Time and memory against batch, rank, filters, side](results/{growth.PICTURE})\n\n"
    text += (
        "Upper row: seconds of one call, medians. Lower row: peak memory, a fresh process for every point. A line ends "
        "where larger values were not measured, because the textbook, and training above a side of 256, would need too "
        "much memory. To explain one class, the weights of its units are never built. For several classes they are "
        "built once for all of them; hence the step in the last plot.\n\n"
    )
    classes = dict(results["classes"]["time"])
    prediction = classes["prediction"][0][1]
    rows = [(int(x), f"{median:.2f}", f"{median / prediction:.2f}×") for x, median, _ in classes["maps"]]
    return text + markdown(("classes explained", "seconds", "of a prediction"), rows)


def starting(results) -> str:
    """Import, tracing, compilation."""
    keras, package = (sorted(results["imports"][name]) for name in ("keras", "keras_coda"))
    middle = len(keras) // 2
    text = (
        f"## Starting\n\n`import keras` takes {keras[middle]:.2f} s, `import keras_coda` {package[middle]:.2f} s: "
        f"**{package[middle] - keras[middle]:+.2f} s** ({package[0] - keras[0]:+.2f} s by the best of {len(keras)} "
        f"each, fresh processes in turn). First calls, batch {BATCH}: seconds more than a later call takes "
        "(tracing; with XLA also compilation):\n\n"
    )
    rows = []
    for preset, modes in results["first_calls"].items():
        for mode, kinds in modes.items():
            rows.append((f"`{preset}`, {mode}", *(f"{each['first'] - each['later']:.2f}" for each in kinds.values())))
    kinds = next(iter(next(iter(results["first_calls"].values())).values()))
    return text + markdown(("", *kinds), rows)


def streamed(results) -> str:
    """Streams and large images."""
    rows = [
        (
            f"{each['images']:,} images",
            f"{each['images_per_second']:.0f}",
            f"{each['seconds']:.1f}",
            f"{each['peak_mb']:.0f}",
        )
        for each in results["streams"]
    ]
    text = (
        "## In bounded memory\n\n`explain_batches` of `coda_xs_cifar10` on random uint8 images of 32×32 from a "
        f"`tf.data` pipeline, {results['batch']} at a time, one map per image. Tracing and the pipeline are included; "
        "every row is a fresh process:\n\n"
    )
    text += markdown(("", "images/s", "seconds", "peak MB above the imports"), rows)
    side = results["side"]
    rows = [
        (
            f"{top_k} of ten classes",
            f"{each['seconds']:.1f}",
            f"{each['peak_mb']:.0f}",
            f"{each['relative_residual']:.0e}",
        )
        for top_k, each in results["large_images"].items()
    ]
    text += f"\nOne image of {side}×{side} through `coda_s_cifar10`, first call, tracing included:\n\n"
    header = ("", "seconds", "peak MB above the imports", "residual / Σ of absolute contributions")
    return text + markdown(header, rows)


def optimized(results) -> str:
    """HLO and the roofline."""
    shapes = ", ".join(f"{name} {'×'.join(map(str, each['shape']))}" for name, each in results["weights"].items())
    text = (
        f"## The program that XLA compiles\n\nThe optimized HLO (CPU) of `{results['preset']}`, batch {BATCH}, read by "
        "[speed/hlo.py](speed/hlo.py). The unscaled weights of all locations would be buffers of N×f×d elements: "
        f"{shapes}.\n\n"
    )
    rows = []
    for name, program in results["programs"].items():
        largest = ", ".join(f"[{each['shape']}]" for each in program["largest_buffers"][:3])
        found = ", ".join(program["weights_found"]) or "**none**"
        outside = sum(program["elementwise_outside_fusions"].values())
        rows.append((name, largest, found, program["fusions"], outside))
    header = (
        "",
        "largest buffers",
        "buffers of that size",
        "fusions",
        f"elementwise outside fusions, ≥ 2^{LARGE.bit_length() - 1} elements",
    )
    text += markdown(header, rows)
    text += (
        "\nThe largest buffers of prediction, training and one map are `Ãᵀx` and `Gz` of the first layers, (N, f·R). "
        "For several classes the package builds the weights on purpose, once for all classes.\n\n"
        "### A roofline for an H100, on paper\n\nAn estimate: nothing here was measured on a GPU. It is for a training "
        f"step of `coda_s_cifar10` at batch {results['roofline']['batch']}, computed by "
        "[speed/roofline.py](speed/roofline.py). Each product takes the longer of two times: that of its operations at "
        "the published peak (dense: 67 TFLOP/s float32, 494 TF32, 989 bfloat16), and that of its bytes at 3.35 TB/s. "
        "Every operand is read once and every result is written once.\n\n"
    )
    rows = []
    for name, each in results["roofline"]["chip"].items():
        cells = (each["operations"] / 1e12, each["bytes"] / 1e9, each["intensity"], each["balance"])
        seconds = (1e3 * each[key] for key in ("seconds_compute", "seconds_memory", "seconds"))
        speed = f"{each['images_per_second']:,.0f}", f"{100 * each['of_peak']:.0f} %"
        rows.append((name, *(f"{cell:.3g}" for cell in cells), *(f"{ms:.1f}" for ms in seconds), *speed))
    header = (
        "",
        "TFLOP",
        "GB",
        "FLOP/byte",
        "chip's balance",
        "ms, operations",
        "ms, bytes",
        "ms",
        "images/s at most",
        "of peak",
    )
    text += markdown(header, rows)
    return text + (
        "\nIn plain float32, arithmetic limits the step. With TF32 or bfloat16, memory does: `Ãᵀx`, `Gz` and the outer "
        "products, (N, f·R) each, are written by one kernel and read by the next. To be faster, a kernel would have to "
        "contract them with z before they leave the chip.\n"
    )


def precise(results) -> str:
    """Accuracy by policy."""
    rows = []
    for policy, runs in results["policies"].items():
        accuracy = [100 * run["accuracy"] for run in runs]
        finite = "yes" if all(run["is_finite"] for run in runs) else "**no**"
        scale = ", ".join(f"{run['loss_scale']:g}" for run in runs if "loss_scale" in run)
        each = ", ".join(f"{value:.1f}" for value in accuracy)
        residual = max(run["residual"] for run in runs)
        loss = sum(run["losses"][-1] for run in runs) / len(runs)
        rows.append(
            (policy, each, f"{sum(accuracy) / len(accuracy):.2f}", f"{loss:.4f}", finite, scale, f"{residual:.0e}")
        )
    header = (
        "",
        "validation accuracy by seed, %",
        "mean",
        "last loss",
        "all finite",
        "loss scale at the end",
        "largest residual",
    )
    return (
        f"## Precision\n\n`coda_digits` on the digits, {results['epochs']} epochs from scratch, seeds "
        f"{', '.join(map(str, results['seeds']))}, the same for every policy. Explanations, and so the "
        "residuals, are always computed in float32.\n\n" + markdown(header, rows)
    )


SECTIONS = {
    "table": table,
    "growth": grown,
    "startup": starting,
    "streaming": streamed,
    "hlo": optimized,
    "precision": precise,
}
