"""The section that puts the main results together and says what limits each of them."""

from benchmarks.speed.table import PRESETS
from keras_coda.utils.tables import markdown_table

_OUTSIDE_THE_COUNT = (
    "work that the count leaves out (cutting patches, contractions with z, outer products, elementwise operations), "
    "and products whose shapes run slower than the peak's"
)


def limits(results: dict) -> str:
    """Return the section; ``results`` by part, None where a part has not run."""
    text = "## Main results, and what limits them\n\nMedians; the tables below also have the best values.\n\n"
    for preset in PRESETS:
        rows = list(_of_network(results["table"][preset]))
        text += f"### `{preset}`\n\n" + markdown_table(("", "measured", "limited by"), rows, right=[1]) + "\n\n"
    rows = list(_of_all(results))
    return text + (f"### All networks\n\n{markdown_table(('', 'measured', 'notes'), rows)}\n\n" if rows else "")


def _of_network(result):
    rows, needed = {row["name"]: row for row in result["rows"]}, result["gflops_per_image"]
    for kind in ("training", "prediction"):
        textbook = rows[f"textbook {kind}"]["of_peak"]["median"]
        yield (
            f"{kind}, speed against the textbook",
            f"{rows[kind]['speedup']['median']:.2f}×",
            f"at most {1 / textbook:.1f}× on this machine: the textbook itself reaches {100 * textbook:.0f} % of the "
            "peak by the same count of operations",
        )
        yield f"{kind}, share of the peak", f"{100 * rows[kind]['of_peak']['median']:.0f} %", _OUTSIDE_THE_COUNT
    for kind in ("one map", "ten maps"):
        floor = needed[kind] / needed["prediction"]
        times = f"{rows[kind]['to_prediction']['median']:.2f}×"
        yield (
            f"prediction and {kind}, time of a prediction",
            times,
            f"the necessary operations are {floor:.2f}× those of a prediction",
        )
    plain, accumulating = rows["training"], rows["accumulating training"]
    if "memory" in plain:
        yield (
            "training, memory per image",
            f"{plain['memory']['per_image']:.1f} MB",
            "mostly activations that the gradient needs",
        )
        cost = 100 * (accumulating["speedup"]["median"] - 1)
        yield (
            "... with `gradient_accumulation_steps=2`",
            f"{accumulating['memory']['per_image']:.1f} MB",
            f"speed {cost:+.0f} %; peaks of memory vary by some 2 MB between processes",
        )
    yield (
        "mixed_bfloat16 training, speed against float32",
        f"{rows['mixed_bfloat16 training']['speedup']['median']:.2f}×",
        "Gram matrices of the weights, sums over locations and Adam stay in float32; memory bounds the contractions",
    )


def _of_all(results):
    if results["hlo"]:
        programs = results["hlo"]["programs"]
        found = [name for name in ("prediction", "training", "one map") if programs[name]["weights_found"]]
        outside = sum(sum(each["elementwise_outside_fusions"].values()) for each in programs.values())
        yield (
            "XLA, prediction, training and one map",
            f"buffers of unscaled weights in {', '.join(found) or 'none of them'}",
            f"{outside} large elementwise operations outside fusions",
        )
    if results["precision"]:
        policies = results["precision"]["policies"]
        means = {name: 100 * sum(run["accuracy"] for run in runs) / len(runs) for name, runs in policies.items()}
        yield (
            "accuracy, mean over seeds",
            ", ".join(f"{mean:.2f} % ({name})" for name, mean in means.items()),
            "by seed: see [Precision](#precision)",
        )
    if results["streaming"]:
        streams = results["streaming"]["streams"]
        measured = ", ".join(f"{each['peak_mb']:.0f} MB for {each['images']:,} images" for each in streams)
        yield "explaining a stream, peak of memory", measured, "one batch at a time"
