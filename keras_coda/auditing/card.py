"""Model cards: what is known about a network, its data and its figures, and what people have to state themselves."""

import importlib.resources
import json
import string

import numpy as np

from keras_coda.auditing.summary import Summary
from keras_coda.explanations.explain import preparation_of
from keras_coda.utils.tables import markdown_table

_UNKNOWN = "Not known to this program."


def template(name: str) -> string.Template:
    """Return a text of this room by the name of its file."""
    return string.Template(
        importlib.resources.files("keras_coda.auditing").joinpath("templates", name).read_text("utf-8")
    )


def model_card(model, summary: Summary, about: str = "") -> str:
    """Return the model card of an audited network as Markdown.

    Args:
        model: the network.
        summary: of the audit.
        about: what is known of its training and limits, Markdown: ``README.md`` of a preset folder.
    """
    figures = dict(getattr(model, "training_figures", {}) or {})
    sections, title = _sections(about), about.partition("\n")[0]
    size = " × ".join("any" if side is None else str(side) for side in model.input_shape[1:])
    rows = [
        ("architecture", type(model).__name__),
        ("parameters", f"{model.count_params():,}"),
        ("input", f"{size} (height, width, channels), pixels in [0, 255]"),
        ("classes", ", ".join(summary.class_names)),
        ("labels per image", "any number" if getattr(model, "multi_label", False) else "one"),
        ("preparation of files", preparation_of(model) or "scaled to the network's size and cut to it"),
        ("calibration", "a sigmoid for each class" if summary.calibrated is not None else "none"),
    ]
    facts = {name.replace("_", " "): value for name, value in figures.items() if isinstance(value, (str, int, float))}
    training = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    ]
    data = [
        *([f"Training: {'; '.join(training)}."] if training else []),
        sections.get("Data", ""),
        sections.get("Training", ""),
    ]
    audited = f"Audited: {len(summary.images):,} images, and {len(summary.errors):,} that could not be read."
    return template("model_card.md").substitute(
        name=title.removeprefix("# ") if title.startswith("# ") else model.name,
        model=markdown_table(("", ""), rows),
        model_hash=summary.manifest.arguments["model_hash"],
        versions=", ".join(f"{name} {value}" for name, value in json.loads(summary.versions or "{}").items()),
        data="\n\n".join([audited, *(filter(None, data) if any(data) else [f"Training: {_UNKNOWN}"])]),
        metrics=markdown_table(("", ""), metrics(summary)),
        limits=sections.get("Limits", _UNKNOWN),
    )


def metrics(summary: Summary) -> list[tuple[str, str]]:
    """Return the figures of an audit as rows of text."""
    rows = [("images", f"{len(summary.images):,}"), ("unreadable", f"{len(summary.errors):,}")]
    for each in summary.reliability():
        name = each.name if summary.calibrated is not None else "probabilities"
        rows.append(
            (f"calibration error, {name}", f"{each.error:.2%} of {len(each.is_right):,} images with known labels")
        )
    known = summary.is_right[~np.isnan(summary.is_right)]
    if known.size:
        rows.insert(0, ("accuracy", f"{known.mean():.2%} of {known.size:,} images with known labels"))
    if summary.images:
        rows.append(("largest residual", f"{summary.statistics['residual'].max():.1e}"))
        rows.append(("mean probability of the predicted class", f"{summary.statistics['probability'].mean():.2%}"))
    return rows


def _sections(markdown: str) -> dict[str, str]:
    """Return the text below each heading of the second level."""
    parts = ("\n" + markdown).split("\n## ")[1:]
    return {title.strip(): text.strip() for title, _, text in (part.partition("\n") for part in parts)}
