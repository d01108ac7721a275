"""Writes ``docs/results.md`` and the model cards of the shipped networks from the stored results.

    python -m experiments report

Machine: any.
Hours:   none; seconds.
Result:  ``docs/results.md`` and ``keras_coda/models/shipped/*/README.md``.
"""

import re
from pathlib import Path

from benchmarks import records
from benchmarks.records import machines, markdown
from experiments import calibration, cards, conventional, depth, downsampling, residuals
from experiments.networks import ROOT

RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "results.md"
_NETWORKS = ("cifar10_s", "cifar10", "cifar10_bcos", "digits")
_COMPARABLE = ("coda_s_cifar10", "coda_xs_cifar10")  # with S-CoDA, whose values are published
_TEMPERATURES = ("temperature_cifar10", "temperature_digits")

# S-CoDA at T = 1000 (CVPR 2021): localization, and area under the curve of pixel removal.
PUBLISHED = {
    "contribution maps": (".912", ".964"),
    "GradCAM": (".726", ".877"),
    "OcclusionSensitivity(patch_size=5)": (".563", ".957–.959 for windows of 5 to 9 pixels"),
    "OcclusionSensitivity(patch_size=9)": (".842", ".957–.959 for windows of 5 to 9 pixels"),
    "IntegratedGradients": (".154", ".573"),
    "VanillaGradients": (".144", ".861"),
    "GradientsInputs": (".144", ".562"),
}

_SHORT = (
    ("OcclusionSensitivity(patch_size=", "Occlusion "),
    (", fill=127.5)", ", gray window"),
    ("GradCAM(layer_name='", "GradCAM at "),
    ("')", ", best layer on training images"),
    ("(encoded=False)", ", pixels and black image"),
    (")", ""),
)

# Numbers of steps, windows and masks, which a table does not show: ", steps=25", or "(steps=25)".
_SETTINGS = re.compile(r", (?:steps|strides|masks)=\d+|\((?:steps|strides|masks)=\d+\)")

_INTRODUCTION = """# Results

*Written by `python -m experiments report` from `experiments/results/*.json`; do not edit.*

"""

_SOURCES = """Everything is measured by the package's own functions
([localization](../keras_coda/evaluation/localization_grids.py), [pixel removal](../keras_coda/evaluation/removal.py),
[post-hoc methods](../keras_coda/posthoc/methods.py)) on the networks that come with it. Tables also show the
published values (CVPR 2021, arXiv 2104.00032). Values are means ± standard errors.

"""

_COMMANDS = """
## How to measure this again

    make evidence                                # everything, with CIFAR-10 of TensorFlow Datasets, then this page
    make evidence CIFAR10=photos/cifar10         # ... or from a folder with train/ and validation/
    python -m experiments cifar10 --grids 25 --images 192  # compare methods on fewer images: 1 hour, not a day
    python -m experiments.compare --images .gpu/images.npz --out out  # many grids and images, on a GPU with JAX alone
    python -m experiments digits report  # some parts: digits cifar10 cifar10_s cifar10_bcos temperature_digits ...

"""

_PROTOCOL = """## How this differs from the papers

- **Network.** The published figures are those of S-CoDA (7.8 M parameters, 200 epochs). `coda_s_cifar10` has its
  architecture, but for its down-sampling (see above), and was trained for 261 epochs on GPUs;
  the other networks are smaller, and were trained on two CPU cores for as long as was possible.
- **Images.** Published: the 10,000 test images of CIFAR-10. Ours: the validation images named above, which were not
  trained on. Where there are too few images for 500 grids, the page gives the number of grids.
- **Same as published.** Grids of 3×3 images of nine different classes, each image once, classified correctly with a
  sigmoid above 0.5, the most confident first; positive contributions only. Removal of up to 25% of the pixels, least
  important first, at 129 points, all encoded channels of a pixel multiplied by zero; sigmoid of the true class; area
  under the curve by trapezoids, divided by the largest share removed.
- **Post-hoc methods** are tf-explain's, adapted to explain the logit; their docstrings list the differences. Maps are
  signed, and pixels are ranked by signed values.
"""


def write() -> None:
    """Write the page and the cards from the parts that have results."""
    found = _records()
    for part in _NETWORKS:
        if part in found:
            cards.write(found[part])
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page() -> str:
    """Return the page, made from the parts that have results."""
    found = _records()
    text = _INTRODUCTION + _opening(found) + _summary(found) + _SOURCES
    for part in _NETWORKS:
        if part in found:
            text += _network(found[part]["results"])
    for part in _TEMPERATURES:
        if part in found:
            text += _temperature(found[part]["results"])
    text += calibration.section(RESULTS) + depth.section(RESULTS) + _conventional() + _downsampling(found.get("grid"))
    text += residuals.section(RESULTS)
    return text + _PROTOCOL + _COMMANDS + machines(found).rstrip() + "\n"


def _conventional() -> str:
    found = conventional.stored(RESULTS)
    if not found:
        return ""
    settings, seconds = found[0]["results"]["settings"], sum(each["seconds"] for each in found)
    return (
        "## Beside conventional networks\n\n"
        "The same images, augmentation, batches, optimizer and epochs for all; networks of this package are trained "
        "anew, not the shipped ones. Accuracy on the held-out images ([program](../experiments/conventional.py)).\n\n"
        f"{conventional.table(found)}\n\n"
        f"{settings['epochs']:g} epochs in {settings['precision']}, batches of {settings['batch']}, peak rate "
        f"{settings['rate']:g}, augmentation '{settings['augment']}'. `{found[0]['command']}`, {found[0]['date']}, "
        f"{seconds} s on one {found[0]['device']['kind']}.\n\n"
    )


def _downsampling(grid) -> str:
    study = records.read("downsampling", RESULTS)
    order = {name: number for number, name in enumerate(downsampling.VARIANTS)}
    runs = sorted(study["results"], key=lambda run: order[run["variant"]])
    settings = study["settings"]
    return (
        "## Down-sampling without a grid in the maps\n\n"
        "A layer with stride 2 takes patches at every second location, and leaves a grid of that period in the mean "
        "absolute map. Energy: the power of the grid over that of neighboring frequencies, 1 to 1.5 without a grid; "
        "phases: how much the means over pixels at different places of the grid differ "
        "([definitions](../experiments/grid.py)). Variants: a binomial blur of 3 or 5 pixels before the strided "
        "layers, or before the first only; means over 2×2 pixels before them, or after them, which then have stride 1; "
        "kernels of 4×4 after a blur; a blur that is learned. Maps are exact for all of them. **Means afterwards keep "
        "the accuracy, within the differences between seeds, and lower the energy at period 2 more than tenfold**: "
        '`CoDANet(downsampling="pooled")`, in `coda_s_cifar10`. They cost the strided layers four times the '
        'operations; a network with `downsampling="blurred"` costs no more, but classifies worse.\n\n'
        f"{downsampling.table(runs)}\n\n"
        f"{settings['epochs']:g} epochs in {settings['precision']}, batches of {settings['batch']}, peak rate "
        f"{settings['rate']:g}, temperature {settings['temperature']:g}; 5,000 held-out images, maps of 500 of them. "
        f"`{study['command']}`, {study['date']}, one {study['device']['kind']}. The time was over before the third "
        "seed of most variants.\n\n"
        f"{_grid(grid) if grid else ''}"
    )


def _grid(record) -> str:
    """The grid in the maps of the shipped networks, whose trainings were long."""
    how = {"pooled": "means after the strided layers", "strided": "strides"}
    networks = [
        f"`{preset}` ({how[each['downsampling']]}): energy {_energy(each['energy_2'])} at period 2 and "
        f"{_energy(each['energy_4'])} at period 4, phases {each['phases_2']:.1%} and {each['phases_4']:.1%} apart"
        for preset, each in record["results"].items()
    ]
    images = next(iter(record["results"].values()))["images"]
    return (
        f"Such short trainings say nothing about long ones. The networks that come with the package, on {images} "
        f"validation images: {'; '.join(networks)}.\n\n"
    )


def _energy(value) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _opening(found) -> str:
    """The finding in two sentences: of the largest comparison, with its figure, or else of the first one."""
    for each in (found[part]["results"] for part in _NETWORKS if part in found):
        if len(each["methods"]) > 1:
            compared, preset = each["methods"]["contribution maps"], each["preset"]
            text = (
                f"Exact contribution maps of `{preset}` beside other methods, on {compared['localization']['units']} "
            )
            text += f"grids and {compared['removal']['units']} images: "
            text += _finding(each["methods"])
            figure = f"![Both metrics for every method](results/{preset}-comparison.png)\n\n"
            return text + (figure if "large" in each else "")
    return ""


def _summary(found) -> str:
    """What the page shows, the networks side by side."""
    rows = []
    for each in (found[part]["results"] for part in _NETWORKS if part in found):
        located, removed = each["localization"], each["removal"]
        rows.append(
            (
                f"`{each['preset']}`",
                f"{each['parameters']:,}",
                f"{each['figures']['accuracy']:.1%}",
                f"{located['mean']:.3f} ({located['units']} grids)",
                f"{removed['mean']:.3f} ({removed['units']} images)",
            )
        )
    head = ("network", "parameters", "accuracy", "localization of its maps", "pixel removal, AUC")
    return markdown(head, rows) + "\n" if rows else ""


def _records() -> dict:
    found = {part: records.read(part, RESULTS) for part in (*_NETWORKS, *_TEMPERATURES, "grid")}
    found = {part: each for part, each in found.items() if each}
    for part in _NETWORKS:  # a comparison on more grids and images takes the place of that in the network's own record
        results = found[part]["results"] if part in found else {}
        large = records.read(f"comparison_{results.get('preset')}", RESULTS)
        if large:
            results |= {"methods": large["results"]["methods"], "large": large}
    return found


def _network(results) -> str:
    preset, figures = results["preset"], results["figures"]
    name, _, num_validation = results["data"]
    text = f"## `{preset}`\n\n"
    text += (
        f"{results['parameters']:,} parameters, temperature {results['temperature']:g}, {results['megabytes']:.1f} MB; "
        f"{num_validation:,} validation images of {name!r}. Accuracy **{figures['accuracy']:.2%}**, loss "
        f"{figures['loss']:.4f}, largest completeness residual {figures['largest_residual']:.0e}.\n\n"
    )
    if len(results["methods"]) > 1:
        text += _methods(preset, results["methods"], results.get("large"))
    located, removed, most = results["localization"], results["removal"], results["removal_most"]
    text += (
        f"**The contribution maps alone**: localization **{_cell(located)}** "
        f"({located['units']} grids of {located['requested']} requested; quartiles {_quartiles(located)}); removal "
        f"**{_cell(removed)}** ({removed['units']} images, {removed['untouched']:.3f} before removal); most "
        f"important pixels first {_cell(most)} ({most['units']} images; lower is better).\n\n"
    )
    trained = records.read("training", RESULTS / preset)
    if trained:
        every, kind = trained["results"]["localization"], trained["device"]["kind"]
        text += (
            f"Most confident images come first, so more grids are harder: localization on all {every['units']} grids "
            f"that the validation images give is **{_cell(every)}** (one {kind}, after the training).\n\n"
        )
    if len(results["methods"]) > 1 and "large" not in results:  # with it, the page begins with the figure
        text += f"![Both metrics for every method](results/{preset}-comparison.png)\n\n"
    return text + f"![Contribution maps of validation images](results/{preset}-maps.png)\n\n"


def _methods(preset, methods, large) -> str:
    """The table of all methods, and what it says."""
    rows, compared = [], methods["contribution maps"]
    text = _finding(methods)
    best = {metric: max(each[metric]["mean"] for each in methods.values())
            for metric in ("localization", "removal")}  # fmt: skip
    for method, each in methods.items():
        row = [_short(method)]
        for metric in ("localization", "removal"):
            cell = _cell(each[metric])
            row.append(f"**{cell}**" if each[metric]["mean"] == best[metric] else cell)
            ahead, error = each["maps_ahead"][metric]
            row.append("" if each is compared else f"{ahead:+.3f} ± {error:.3f}")
        rows.append(row)
    text += markdown(["method", "localization", "maps ahead by", "removal, AUC", "maps ahead by"], rows)
    if preset in _COMPARABLE:
        plain = {name: _SETTINGS.sub("", name) for name in methods}
        values = [
            f"{_short(name)} {' and '.join(PUBLISHED[plain[name]])}" for name in methods if plain[name] in PUBLISHED
        ]
        text += f"\nPublished for S-CoDA (localization and removal): {'; '.join(values)}.\n"
    text += (
        f"\nAll methods on the same {compared['localization']['units']} grids (chance 0.111) and "
        f"{compared['removal']['units']} images, whose mean probability is {compared['removal']['untouched']:.3f} "
        "before any removal. Standard errors of differences are those of the differences on each grid or image.\n\n"
    )
    if large:
        fewer = [f"`{name}`" for name in methods if _SETTINGS.search(name)]
        text += (
            f"`{large['command']}`, {large['date']}, {large['seconds']} s on one {large['device']['kind']}, float32. "
        )
        text += f"To save time, some methods have other settings than by default: {', '.join(fewer)}.\n\n"
    return text + (
        "Grids are made of the most confident images first, so localization falls with the number of grids. Occlusion, "
        "Integrated Gradients and gradient × input use an encoding of zeros as their reference, as the removal metric "
        "does for removed pixels. Rows with a gray window, or pixels and a black image, use the references of "
        "tf-explain.\n\n"
    )


def _finding(methods) -> str:
    """One sentence for each metric: which methods have a higher mean than the contribution maps, and by how much."""
    text = ""
    for metric, name in (("localization", "Localization"), ("removal", "Pixel removal")):
        ours = methods["contribution maps"][metric]
        behind = [(_short(method), *each["maps_ahead"][metric]) for method, each in methods.items()]
        higher = ", ".join(f"{method} (by {-mean:.3f} ± {error:.3f})" for method, mean, error in behind if mean < 0)
        text += f"{name}: contribution maps {_cell(ours)}, {'below ' + higher if higher else 'above every method'}. "
    return f"**{text.strip()}**\n\n"


def _short(method) -> str:
    """A method's name for a table that fits a page, such as "Occlusion 5, gray window"."""
    method = _SETTINGS.sub("", method)
    for long, short in _SHORT:
        method = method.replace(long, short)
    return method


def _cell(summary) -> str:
    return f"{summary['mean']:.3f} ± {summary['standard_error']:.3f}"


def _quartiles(summary) -> str:
    return ", ".join(f"{value:.3f}" for value in summary["quartiles"])


def _range(counts) -> str:
    return f"{min(counts):,}" if len(set(counts)) == 1 else f"{min(counts):,} to {max(counts):,}"


def _temperature(results) -> str:
    preset, budget = results["preset"], results["budget"]
    grids, images = ([run[unit] for run in results["runs"]] for unit in ("grids", "images"))
    text = f"## Temperature: `{preset}`\n\n"
    seeds, dtype = len(budget.get("seeds", (0,))), budget.get("overrides", {}).get("dtype", "float32")
    text += (
        f"From the same random weights, {budget['epochs']} epochs each in {dtype}, peak rate "
        f"{budget['learning_rate']:g}, {seeds} seed{'s' * (seeds > 1)} per temperature; not the shipped weights. "
        f"Localization on {_range(grids)} grids per run, removal on {_range(images)} images. In such short trainings, "
        "networks with a high temperature do not reach the accuracy of those with a low one."
        f"{' Dashed lines: published values of S-CoDA after 200 epochs.' * (preset != 'coda_digits')}\n\n"
    )
    return text + results["table"] + f"\n\n![The metrics against temperature](results/{preset}-temperature.png)\n\n"
