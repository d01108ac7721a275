"""The address of the repository, and links of the README, which is read on an index of packages too."""

import re
import shutil
import subprocess

import pytest

from docs.repository import ROOT, address, move, paths

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_of_the_readme_are_absolute_and_lead_to_files():
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    name = address().removeprefix("https://github.com/")
    begins = (f"{address()}/blob/main/", f"{address()}/tree/main/", f"https://raw.githubusercontent.com/{name}/main/")
    found = [target.removeprefix(begin) for target in targets for begin in begins if target.startswith(begin)]
    own = [target.partition("#")[0] for target in found]
    assert len(own) > 5
    assert [path for path in own if not (ROOT / path).exists()] == []
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all(picture.startswith(begins[2]) for picture in pictures)


def test_what_is_installed_first_comes_from_the_repository():
    command = f'pip install "keras-coda @ git+{address()}"'
    for page in (README, (ROOT / "docs" / "index.md").read_text(encoding="utf-8")):
        assert page.index(command) < page.replace(command, " " * len(command)).index('pip install "keras-coda')


def test_one_command_sets_the_address_everywhere(tmp_path):
    for path in paths():
        if address().removeprefix("https://github.com/") in path.read_text(encoding="utf-8"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    changed = {path.relative_to(tmp_path).as_posix() for path in move("https://github.com/someone/else", tmp_path)}
    assert {"README.md", "pyproject.toml", "mkdocs.yml", "docs/index.md", "notebooks/03_temperature.ipynb"} <= changed
    assert "keras-coda/keras-coda" not in "".join(path.read_text(encoding="utf-8") for path in paths(tmp_path))
    assert 'Repository = "https://github.com/someone/else"' in (tmp_path / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "new", ["someone/else", "https://github.com/someone", "https://github.com/a/b.git", "git@x:a/b"]
)
def test_other_addresses_are_refused(new, tmp_path):
    with pytest.raises(ValueError, match="OWNER/NAME.*Received"):
        move(new, tmp_path)
