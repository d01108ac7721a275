import re
import shutil

import numpy as np
import pytest

from keras_coda import CoDANet, auditing
from keras_coda.auditing.card import template
from keras_coda.auditing.drift import stability
from keras_coda.auditing.report import CARD, markdown_to_html
from keras_coda.explanations import Calibration
from tests.helpers.commands import run, write_image


@pytest.fixture(scope="module")
def reported(audited, model, photos, tmp_path_factory):
    """The text of a report, compared with an audit of darker images, and its folder."""
    out = tmp_path_factory.mktemp("reported") / "audit"
    shutil.copytree(audited[0], out)
    other = tmp_path_factory.mktemp("others")
    for index in range(30):
        write_image(other / "in" / "dark" / f"{index}.png", seed=500 + index)
    auditing.audit(model, other / "in", other / "out", verbose=False)
    about = "# A\n\n## Data\n\nPhotos of ours.\n\n## Limits\n\n- Only <two> classes.\n- Small.\n"
    path = auditing.report(out, model, photos, reference=other / "out", about=about)
    return path.read_text(encoding="utf-8"), out


@pytest.mark.slow
def test_a_report_loads_nothing_from_elsewhere(reported):
    text, _ = reported
    links = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?([^"'\s>]{0,22})""", text)
    assert len(links) == 5  # pictures
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"<script|<link|<iframe|@import|url\(|https?:", text)
    assert "default-src 'none'" in text


@pytest.mark.slow
def test_a_report_has_every_section(reported):
    text, _ = reported
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        "Figures", "Distributions", "Reliability", "Least certain decisions", "Least complete decisions", "Mean maps",
        "Drift against the reference", "Model card",
    ]  # fmt: skip
    assert "<td>dark/cut.png</td>" in text.replace(' style="text-align: left"', "")
    assert "the file is cut off" in text
    assert "<h3>Model card: A</h3>" in text
    assert "Photos of ours." in text
    assert "<li>Only &lt;two&gt; classes.</li>" in text


@pytest.mark.slow
def test_the_least_certain_and_the_least_complete_are_those_of_the_rows(reported):
    text, out = reported
    summary = auditing.Summary.of(out)
    worst = summary.images[int(np.argmax(summary.statistics["residual"]))]
    doubtful = summary.images[int(np.argmin(summary.statistics["probability"]))]
    certain, complete = (re.search(rf"<h2>{title}</h2>.*?</section>", text, re.DOTALL)[0]
                         for title in ("Least certain decisions", "Least complete decisions"))  # fmt: skip
    assert re.findall(r"<li>(.*?):", certain)[0] == doubtful
    assert re.findall(r"<li>(.*?):", complete)[0] == worst
    assert len(re.findall(r"<li>", complete)) == 6


@pytest.mark.slow
def test_a_card_that_was_edited_is_kept_and_shown(reported, model, photos):
    _, out = reported
    card = (out / CARD).read_text(encoding="utf-8")
    for heading in (
        "Intended use",
        "Data",
        "Metrics",
        "How explanations are computed",
        "Limits",
        "Where Annex IV asks",
    ):
        assert f"\n## {heading}\n" in card
    (out / CARD).write_text(card.replace("## Intended use\n", "## Intended use\n\nSorting <holiday> photos.\n"))
    text = auditing.report(out, model, photos).read_text(encoding="utf-8")
    assert "Sorting &lt;holiday&gt; photos." in text
    assert "Drift against" not in text


@pytest.mark.slow
def test_hostile_names_are_shown_as_text(model, tmp_path):
    for name in ("<img src=http:x onerror=a>.png", "$x_{.png", 'b"onload=.png'):
        write_image(tmp_path / "in" / "dark" / name)
    auditing.audit(model, tmp_path / "in", tmp_path / "out", verbose=False)
    text = auditing.report(tmp_path / "out", model, tmp_path / "in").read_text(encoding="utf-8")
    assert "<img src=http" not in text
    assert "&lt;img src=http:x onerror=a&gt;.png" in text
    assert 'b"onload' not in text


@pytest.mark.slow
def test_drift_is_none_to_itself_and_large_to_others(audited, reported):
    summary = auditing.Summary.of(audited[0])
    same = auditing.drift(summary, summary)
    assert all(each.psi == 0 for each in same)
    assert all(each.ks == 0 and each.p_value == 1 for each in same[1:])
    moved = dict(summary.statistics, evidence=summary.statistics["evidence"] + 100)
    other = auditing.Summary(**{**vars(summary), "statistics": moved, "predicted": 1 - summary.predicted})
    found = {each.name: each for each in auditing.drift(summary, other)}
    assert found["sum of the absolute contributions"].ks == 1
    assert found["sum of the absolute contributions"].psi > 1
    assert found["completeness error, relative"].psi == 0
    assert stability(np.array([50, 50]), np.array([90, 10])) == pytest.approx(0.4 * np.log(1.8) - 0.4 * np.log(0.2))


def test_calibrated_probabilities_are_in_rows_and_report(model, tmp_path):
    network = CoDANet.from_config(model.get_config())
    network.calibration = Calibration((2.0, 0.5), (0.5, -0.5))
    write_image(tmp_path / "in" / "dark" / "a.png")
    auditing.audit(network, tmp_path / "in", tmp_path / "out", verbose=False)
    summary = auditing.Summary.of(tmp_path / "out")
    logits = network.explain(tmp_path / "in" / "dark" / "a.png").logits
    assert summary.calibrated[0] == pytest.approx(network.calibration(logits)[0, summary.predicted[0]], rel=1e-5)
    assert [each.name for each in summary.reliability()] == ["sigmoids of the logits", "calibrated"]
    assert auditing.verify_audit(tmp_path / "out", network, tmp_path / "in", verbose=False) == []


@pytest.mark.slow
def test_the_command_writes_the_report(model, tmp_path, capsys):
    write_image(tmp_path / "in" / "dark" / "a.png")
    model.save_to_preset(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("# x\n\n## Limits\n\nNone known.\n")
    options = ["--model", tmp_path / "model", "--data", tmp_path / "in"]
    assert run("audit", *options, "--out", tmp_path / "a", "--no-report") == 0
    assert not (tmp_path / "a" / "report.html").exists()
    assert run("audit", *options, "--out", tmp_path / "b", "--reference", tmp_path / "a") == 0
    assert str(tmp_path / "b" / "report.html") in capsys.readouterr().out
    assert "None known." in (tmp_path / "b" / CARD).read_text()
    assert run("audit", *options, "--out", tmp_path / "c", "--reference", tmp_path / "in") == 1
    assert "--reference must be a folder with a finished audit" in capsys.readouterr().err


def test_markdown_becomes_html():
    text = "# A\nb\n- c\n  d\n- **e**\n\n| f | g |\n| - | - |\n| h | i |\n\n    code <x>\n\n1. one\n2. two"
    assert markdown_to_html(text).replace("\n", "") == (
        "<h3>A</h3><p>b</p><ul><li>c d</li><li>**e**</li></ul>"
        '<table><thead><tr><th style="text-align: left">f</th><th style="text-align: left">g</th></tr></thead><tbody>'
        '<tr><td style="text-align: left">h</td><td style="text-align: left">i</td></tr></tbody></table>'
        "<pre>    code &lt;x&gt;</pre><ul><li>one</li><li>two</li></ul>"
    )


def test_templates_are_files_of_the_package():
    assert "$sections" in template("report.html").template
    assert "$model_hash" in template("model_card.md").template
