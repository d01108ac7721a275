"""Which files of a folder are images, which are left out, and which of its folders are classes or parts of a data set.

This module needs nothing but the standard library: the command line uses it before TensorFlow is imported.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence

EXTENSIONS = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)  # of files that are looked for in folders
_OTHER_IMAGES = (".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".ppm", ".svg", ".tga")
# Folders that other programs add: archives of macOS, network storage (Synology, QNAP), Python, Windows, Linux.
_SIDECARS = {
    "__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__pycache__", "$recycle.bin",
    "system volume information", "lost+found",
}  # fmt: skip
TRAINING = ("train", "training")
VALIDATION = (
    "validation", "valid", "val", "dev", "development", "eval", "evaluation", "test", "testing", "holdout",
)  # by precedence  # fmt: skip


def is_left_out(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or one that other programs add."""
    return name.startswith(".") or name.casefold() in _SIDECARS


def subfolders(folder: str) -> list[str]:
    """Return the sorted names of the folders in a folder."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_left_out(entry.name))


@dataclasses.dataclass(frozen=True)
class Images:
    """The image files of a folder, at every depth.

    Attributes:
        folder: the folder.
        by_folder: paths of images by the names of the folders that lead to them, ``()`` for the folder itself. Both are
            in the order in which Keras finds images.
        hidden: paths of images that are hidden, or in a folder that is hidden or that another program added.
        others: numbers of images of other formats, by the ending of their names.
    """

    folder: str
    by_folder: dict[tuple[str, ...], list[str]]
    hidden: list[str]
    others: Counter[str]

    @classmethod
    def of(cls, folder: str | os.PathLike, linked: int = 0) -> "Images":
        """Find the images of a folder.

        Args:
            folder: the folder.
            linked: the number of levels of folders on which links to folders are followed, too.

        Raises:
            OSError: if a folder that is not left out cannot be read.
        """
        found = cls(os.fspath(folder), {}, [], Counter())
        for root, names_to_root, names in sorted(_walk(found.folder, linked)):
            in_hidden_folder = any(map(is_left_out, names_to_root))
            for name in sorted(names):
                if name.lower().endswith(EXTENSIONS):
                    path = os.path.join(root, name)
                    is_hidden = in_hidden_folder or is_left_out(name)
                    (found.hidden if is_hidden else found.by_folder.setdefault(names_to_root, [])).append(path)
                elif not in_hidden_folder and (ending := os.path.splitext(name)[1].lower()) in _OTHER_IMAGES:
                    found.others[ending] += 1
        return found

    @property
    def paths(self) -> list[str]:
        """Paths of all images that are not left out."""
        return [path for paths in self.by_folder.values() for path in paths]

    def of_classes(self, part: tuple[str, ...], classes: Sequence[str]) -> dict[str, list[str]]:
        """Return the paths of the images of each class, at every depth of its folder.

        Args:
            part: names of the folders that lead to the folder that has the class folders.
            classes: names of the class folders.
        """
        images: dict[str, list[str]] = {name: [] for name in classes}
        for key, paths in self.by_folder.items():
            if len(key) > len(part) and key[: len(part)] == part:
                images[key[len(part)]] += paths
        return images

    def left_out(self) -> list[str]:
        """Return a sentence for each kind of images that are left out."""
        told = []
        if self.others:
            counts = ", ".join(f"{count} {ending}" for ending, count in sorted(self.others.items()))
            told.append(
                f"Only {', '.join(EXTENSIONS)} files are read from folders of images. Received: '{self.folder}' with "
                f"{counts} too, which are left out. Convert them to PNG or JPEG."
            )
        if self.hidden:
            first = os.path.relpath(self.hidden[0], self.folder)
            told.append(
                "Hidden files and folders, and folders that other programs add, are left out. Received: "
                f"'{self.folder}' with {len(self.hidden)} such images, the first is '{first}'. Rename what should be "
                "read."
            )
        return told


def _walk(folder, linked):
    """Yield each folder at any depth: its path, the names of the folders that lead to it, the names of its files."""

    def stop(error):
        if not any(map(is_left_out, os.path.relpath(error.filename, folder).split(os.sep))):
            raise error

    for root, folders, files in os.walk(folder, followlinks=linked > 0, onerror=stop):
        inside = os.path.relpath(root, folder)
        names_to_root = () if inside == os.curdir else tuple(inside.split(os.sep))
        if len(names_to_root) >= linked:  # so that a link to a folder above cannot lead on for ever
            folders[:] = [name for name in folders if not os.path.islink(os.path.join(root, name))]
        yield root, names_to_root, files


def part_of(name: str) -> str | None:
    """Return the entry of ``TRAINING`` or ``VALIDATION`` that a folder's name means, in any usual spelling, or None.

    For example ``"validation"`` for "Validation", and ``"train"`` for "TRAIN", "training_set" being ``"training"``.
    """
    plain = re.sub(r"(?<=.)(set|data|images|split)$", "", re.sub(r"[\W_]+", "", name.casefold()))
    return plain if plain in TRAINING + VALIDATION else None


def find_parts(folder: str | os.PathLike) -> list[str]:
    """Return the folders of training and validation images, or the folder itself if its subfolders are classes.

    Raises:
        ValueError: if the subfolders look like parts of a data set, but it is not clear which ones to use.
    """
    folder = os.fspath(folder)
    names = subfolders(folder)
    inside = {name: subfolders(os.path.join(folder, name)) for name in names}
    parts = {name: part for name in names if (part := part_of(name))}
    training = [name for name, part in parts.items() if part in TRAINING]
    validation = [name for entry in VALIDATION for name, part in parts.items() if part == entry]
    others = [name for name in names if name not in parts]
    if training and validation and inside[training[0]]:  # without subfolders, "train" is the name of a class
        looks_split = not others or inside[training[0]] == inside[validation[0]]
        if looks_split and len(training) > 1:
            raise ValueError(f"One folder must hold the training images. Received: '{folder}' with {training}.")
        if looks_split and (extra := [name for name in others if Images.of(os.path.join(folder, name)).paths]):
            raise ValueError(
                f"Beside the folders {training + validation} there must be no others with images. Received: '{folder}' "
                f"with {extra}. Move them elsewhere; or, if all of these are classes, move the images of each directly "
                "into its folder."
            )
        if looks_split:
            return [os.path.join(folder, training[0]), os.path.join(folder, validation[0])]
    same = len(names) > 1 and len(inside[names[0]]) > 1 and all(inside[name] == inside[names[0]] for name in names)
    if same and not any(_has_images(os.path.join(folder, name)) for name in names):
        raise ValueError(
            "Each folder must be a class, or there must be one folder for training and one for validation, such as "
            f"'train' and 'validation', with the same classes in both. Received: '{folder}' with {names[:10]}, which "
            f"all hold the folders {inside[names[0]][:10]}. Rename the parts; or, if {names[:2]} are classes, move the "
            "images of each directly into its folder."
        )
    return [folder]


def _has_images(folder):
    """Return whether there are images in the folder itself."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(EXTENSIONS) and not is_left_out(entry.name) for entry in entries)
