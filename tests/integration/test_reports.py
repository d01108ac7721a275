"""Pages of measured figures are written by programs from stored results, and show no internal targets."""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import records
from benchmarks.speed import report as of_benchmarks
from experiments import conventional
from experiments import report as of_experiments

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("report", [of_benchmarks, of_experiments], ids=["benchmarks", "experiments"])
def test_the_page_is_what_its_program_writes(report):
    assert report.PAGE.read_text(encoding="utf-8") == report.page()


def test_the_page_begins_with_the_largest_comparison(monkeypatch, tmp_path):
    shutil.copytree(of_experiments.RESULTS, tmp_path / "results")
    monkeypatch.setattr(of_experiments, "RESULTS", tmp_path / "results")
    methods = records.read("cifar10", tmp_path / "results")["results"]["methods"]
    five = "OcclusionSensitivity(patch_size=5"
    methods[f"{five}, strides=4)"] = methods.pop(f"{five})")
    large = {"command": "python -m experiments.compare", "date": "today", "seconds": 7, "device": {"kind": "GPU"}}
    records.write("comparison_coda_s_cifar10", large | {"results": {"methods": methods}}, tmp_path / "results")
    page = of_experiments.page()
    opening = page.split("- **`coda_s_cifar10`**")[0]
    assert "of `coda_s_cifar10` beside other methods, on 4 grids and 64 images: **Localization: contribution" in opening
    assert "below Occlusion 5, gray window (by 0.018 ± 0.013), Occlusion 5 (by 0.032 ± 0.015)." in opening
    assert page.count("results/coda_s_cifar10-comparison.png") == 1 == opening.count("comparison.png")
    assert f"other settings than by default: `{five}, strides=4)`" in page
    assert "Occlusion 5 .563" in page.split("## `coda_xs_cifar10`")[0]


def test_conventional_networks_have_a_table(monkeypatch, tmp_path):
    shutil.copytree(of_experiments.RESULTS, tmp_path / "results")
    monkeypatch.setattr(of_experiments, "RESULTS", tmp_path / "results")
    about = {"command": "python -m experiments.conventional", "date": "today", "seconds": 7, "device": {"kind": "GPU"}}
    figures = {"settings": conventional.SETTINGS, "parameters": 1234, "macs": 41e6, "seconds_per_epoch": 1.25}
    for network, accuracy in (("coda_xs_cifar10", 0.87), ("resnet20", 0.915)):
        results = {"results": {"network": network, "accuracy": accuracy, **figures}}
        records.write(conventional.PREFIX + network, about | results, tmp_path / "results")
    section = of_experiments.page().split("## Beside conventional networks")[1].split("## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert lines[0] == "| `resnet20` | 91.50% | 1,234 | 41 M | 1.2 |"
    assert lines[1].startswith("| `coda_xs_cifar10` | 87.00% |")
    assert "60 epochs in bfloat16, batches of 128" in section
    assert "14 s on one GPU" in section


def test_pages_for_users_show_no_missed_targets():
    for path in (ROOT / "benchmarks" / "README.md", ROOT / "docs" / "performance.md"):
        assert not re.search(r"\bmissed\b|\btargets?\b", path.read_text(encoding="utf-8")), path


def test_every_experiment_says_command_machine_hours_and_result():
    helpers = {
        "__init__",
        "__main__",
        "cards",
        "fuzzing",
        "grid",
        "kills",
        "smoothing",
        "time_limit",
    }  # without an experiment of their own
    for path in (ROOT / "experiments").glob("*.py"):
        if path.stem not in helpers:
            header = path.read_text(encoding="utf-8").split('"""')[1]
            for part in (r"^    python -m experiments", r"^Machine: ", r"^Hours: ", r"^Result: "):
                assert re.search(part, header, re.M), (path.name, part)
