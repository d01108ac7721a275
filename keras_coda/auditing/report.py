"""The report of an audit: one HTML file that loads nothing from elsewhere, and a model card beside it."""

import base64
import dataclasses
import html
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_coda.auditing.card import metrics, model_card, template
from keras_coda.auditing.drift import LARGE, drift
from keras_coda.auditing.recorder import AuditedImages, Recorder
from keras_coda.auditing.rows import text_of
from keras_coda.auditing.summary import STATISTICS, Summary
from keras_coda.explanations.explain import class_names_of
from keras_coda.utils.atomic import new_file
from keras_coda.utils.tables import markdown_table, to_html
from keras_coda.visualization.audits import plot_distributions, plot_mean_maps
from keras_coda.visualization.figure import to_png
from keras_coda.visualization.reliability import plot_reliability

REPORT, CARD = "report.html", "model_card.md"
SHOWN = 6  # of the least certain decisions, and of the least complete ones
_CLASSES, _OF_EACH = 20, 16  # of the mean maps: the most frequent classes, and images of each
_ERRORS = 20
_ENTRY = re.compile(r"(?:-|\d+\.) ")  # begins an entry of a list


def report(
    folder: str | os.PathLike,
    model,
    data: str | os.PathLike,
    *,
    reference: str | os.PathLike | None = None,
    about: str = "",
) -> Path:
    """Write ``report.html`` and, if there is none yet, ``model_card.md`` into the folder of a finished audit.

    The report has figures, distributions, the least certain and the least complete decisions with their maps, mean maps
    of classes, the reliability diagram where labels are known, the drift against another audit, and the model card. It
    needs no network: pictures are embedded, and browsers are told to load nothing.

    Args:
        folder: the audit.
        model: the network that it was made with.
        data: the images that it was made of.
        reference: another finished audit, of a network with the same classes, to compare with.
        about: Markdown for the card, for instance the ``README.md`` of a preset folder, of which the sections Data,
            Training and Limits are taken.

    Returns:
        The path of the report.

    Raises:
        ValueError: if there is no finished audit, or the reference is one of other classes.
    """
    folder = Path(folder).expanduser()
    summary, before = Summary.of(folder), None if reference is None else Summary.of(reference)
    images = AuditedImages.of(data, class_names_of(model), without=folder)
    recorder = Recorder(model, images, max_side=summary.manifest.arguments.get("max_side"))
    if not (folder / CARD).exists():
        with new_file(folder / CARD) as temporary:
            temporary.write_text(model_card(model, summary, about), encoding="utf-8")
    sections = [_section("Figures", _table([*metrics(summary), *_facts(summary)]), _errors(summary))]
    if summary.images:
        sections += list(_pictures(summary, before, recorder, images))
    if before is not None:
        sections.append(_section("Drift against the reference", *_drift(before, summary)))
    sections.append(_section("Model card", markdown_to_html((folder / CARD).read_text(encoding="utf-8"))))
    title = html.escape(f"Audit of {len(summary.images) + len(summary.errors):,} images")
    text = template("report.html").substitute(title=title, sections="\n".join(sections))
    with new_file(folder / REPORT) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / REPORT


def _pictures(summary, before, recorder, images):
    """Yield the sections with pictures."""
    paths = {text_of(name): name for name in images.labels}
    own, others = ({STATISTICS[key]: each.statistics[key] for key in STATISTICS} if each else None
                   for each in (summary, before))  # fmt: skip
    yield _section(
        "Distributions", _picture(plot_distributions(own, others), "Shares of the images."), _classes(summary)
    )
    reliability = summary.reliability()
    if reliability:
        caption = "Below the diagonal the network is too certain, above it too uncertain."
        yield _section("Reliability", _picture(plot_reliability(reliability), caption))
    for title, order in (
        ("Least certain decisions", np.argsort(summary.certainty, kind="stable")),
        ("Least complete decisions", np.argsort(-summary.statistics["residual"], kind="stable")),
    ):
        yield _section(title, *_decisions(summary, order[:SHOWN].tolist(), recorder, paths))
    maps = list(_mean_maps(summary, recorder, paths))
    if maps and len({each.shape for _, each in maps}) == 1:
        caption = f"Means of the maps of the predicted class, of up to {_OF_EACH} images. Red adds to the logit."
        yield _section(
            "Mean maps", _picture(plot_mean_maps([each for _, each in maps], [name for name, _ in maps]), caption)
        )


def _decisions(summary, chosen, recorder, paths):
    """Yield pictures of decisions, a picture for each size of images; those that are no longer there are left out."""
    names = [summary.images[index] for index in chosen]
    for read, explanation in recorder.explain([paths[name] for name in names if name in paths]):
        entries = []
        for name in map(text_of, read):
            index = chosen[names.index(name)]
            numbers = (f"{key.replace('_', ' ')} {values[index]:.3g}" for key, values in summary.statistics.items())
            entries.append(f"<li>{html.escape(name)}: {', '.join(numbers)}</li>")
        named = dataclasses.replace(explanation, names=tuple(map(text_of, read)))
        yield _picture(named.plot(), "Images, and maps of their predicted classes, in the order of this list:")
        yield f"<ol>{''.join(entries)}</ol>"


def _mean_maps(summary, recorder, paths):
    """Yield name and mean map of the most frequent predicted classes, if their maps have one size."""
    counts = np.bincount(summary.predicted, minlength=len(summary.class_names))
    for label in np.argsort(-counts, kind="stable")[:_CLASSES]:
        names = [summary.images[index] for index in np.flatnonzero(summary.predicted == label)[:_OF_EACH]]
        found = recorder.explain([paths[name] for name in names if name in paths])
        if len(found) == 1:
            yield f"{summary.class_names[label]} ({counts[label]})", found[0][1].contributions[:, 0].mean(axis=0)


def _drift(before, summary):
    rows = [
        (each.name, *(_number(value) for value in (*each.means, each.psi, each.ks, each.p_value)))
        for each in drift(before, summary)
    ]
    head = ("", "mean, reference", "mean", "stability index", "KS statistic", "p-value")
    yield f"<p>Reference: audit {html.escape(before.manifest.audit_hash)}, {len(before.images):,} images.</p>"
    yield to_html(markdown_table(head, rows, right=range(1, 6)))
    yield (
        f'<p class="note">Population stability index over deciles of the reference: below 0.1 usually no shift, above '
        f"{LARGE} a large one. KS: largest distance of the cumulative shares (SciPy, ks_2samp).</p>"
    )


def _facts(summary):
    manifest = summary.manifest
    yield "hash of the audit", manifest.audit_hash
    yield "hash of the network", manifest.arguments["model_hash"]
    yield "finished", manifest.finished
    yield "versions", summary.versions


def _classes(summary):
    counts = np.bincount(summary.predicted, minlength=len(summary.class_names))
    order = [index for index in np.argsort(-counts, kind="stable")[:_CLASSES] if counts[index]]
    rows = [(summary.class_names[index], f"{counts[index]:,}", *_right(summary, index)) for index in order]
    head = ("predicted class", "images", *(["right"] if rows and len(rows[0]) > 2 else []))
    return to_html(markdown_table(head, rows, right=range(1, len(head))))


def _right(summary, label):
    if np.isnan(summary.is_right).all():
        return []
    known = summary.is_right[(summary.predicted == label) & ~np.isnan(summary.is_right)]
    return [f"{known.mean():.1%}" if known.size else "–"]


def _errors(summary):
    if not summary.errors:
        return ""
    more = f"<p>And {len(summary.errors) - _ERRORS:,} more.</p>" if len(summary.errors) > _ERRORS else ""
    return "<h3>Unreadable images</h3>" + to_html(markdown_table(("image", "reason"), summary.errors[:_ERRORS])) + more


def _section(title: str, *blocks: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n{''.join(blocks)}\n</section>"


def _table(rows: Sequence) -> str:
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _picture(figure, caption: str) -> str:
    data, text = base64.b64encode(to_png(figure)).decode(), html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g}"


def markdown_to_html(text: str) -> str:
    """Return the Markdown of a card as HTML: headings, lists, tables, bold, indented code; anything else as text."""
    found: list[str] = []
    block: list[str] = []

    def finish():
        if not block:
            return
        heading, rest = re.fullmatch(r"(#+) (.*)", block[0]), "\n".join(block)
        if heading:
            level = min(len(heading[1]) + 2, 6)  # below those of the report
            found.append(f"<h{level}>{html.escape(heading[2])}</h{level}>")
        elif rest.startswith("    "):
            found.append(f"<pre>{html.escape(rest)}</pre>")
        elif _ENTRY.match(rest):
            found.append(f"<li>{html.escape(' '.join(_ENTRY.sub('', rest).split()))}</li>")
        else:
            found.append(to_html(rest))
        block.clear()

    for line in text.splitlines():
        starts = line.startswith("#") or _ENTRY.match(line) or (line.startswith("|") and "".join(block[:1])[:1] != "|")
        if not line.strip() or starts:
            finish()
        if line.strip():
            block.append(line)
        if line.startswith("#"):
            finish()
    finish()
    return re.sub(r"((?:<li>.*</li>\n?)+)", r"<ul>\1</ul>\n", "\n".join(found))
