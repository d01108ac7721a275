"""Pages of measured figures are written by programs from stored results, and show no internal targets."""

import re
import shutil
from pathlib import Path

import pytest

import keras_coda
from benchmarks import records
from benchmarks.speed import report as of_benchmarks
from experiments import cards, conventional, ship
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
    opening = page.split("| `coda_s_cifar10`")[0]
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


def test_a_bcos_network_stands_beside_the_others(monkeypatch, tmp_path):
    shutil.copytree(of_experiments.RESULTS, tmp_path / "results")
    monkeypatch.setattr(of_experiments, "RESULTS", tmp_path / "results")
    record = records.read("cifar10", tmp_path / "results")
    record["results"] |= {"preset": "bcos_resnet20_cifar10", "parameters": 272896}
    records.write("cifar10_bcos", record, tmp_path / "results")
    page = of_experiments.page()
    rows = [line.split() for line in page.splitlines() if line.startswith("| `") and "(200 grids)" in line]
    assert [(row[1], row[3], row[5]) for row in rows] == [
        ("`coda_xs_cifar10`", "3,368,000", "87.0%"), ("`bcos_resnet20_cifar10`", "272,896", "87.0%")
    ]  # fmt: skip
    section = page.split("## `bcos_resnet20_cifar10`")[1].split("\n## ")[0]
    assert "| GradCAM " in section
    assert "Published for S-CoDA" not in section
    assert set(cards._DATA) == set(cards._LIMITS) >= {"bcos_resnet20_cifar10"}  # noqa: SLF001


def test_trainings_of_the_command_line_and_of_python_are_described_for_a_card(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,val_accuracy\n1,0.5\n2,0.625\n")
    (tmp_path / "training.json").write_text("{}")  # as beside a training on a GPU, which has arguments.json, too
    recipe = {"batch_size": 64, "augmentation": "none"}
    model = keras_coda.CoDANet(3, input_shape=(4, 4, 1), filters=(3,), ranks=1, temperature=2.0, dtype="mixed_bfloat16")
    for arguments in ({"dtype": "mixed_bfloat16", "seed": 4, **recipe}, {"model": model.get_config(), **recipe}):
        model.training_figures = {"epochs": 2, "arguments": arguments}
        stage = ship._stage(model, tmp_path)  # noqa: SLF001
        assert (stage["dtype"], stage["augmentation"], stage.get("seed")) == (
            "mixed_bfloat16", "none", arguments.get("seed")
        )  # fmt: skip
        assert stage["validation_accuracy_by_epoch"] == [0.5, 0.625]


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
