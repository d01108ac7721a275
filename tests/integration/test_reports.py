"""Pages of measured figures are written by programs from stored results, and show no internal targets."""

import re
from pathlib import Path

import pytest

from benchmarks.speed import report as of_benchmarks
from experiments import report as of_experiments

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("report", [of_benchmarks, of_experiments], ids=["benchmarks", "experiments"])
def test_the_page_is_what_its_program_writes(report):
    assert report.PAGE.read_text(encoding="utf-8") == report.page()


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
