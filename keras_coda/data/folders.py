"""Folders of class folders of images: what is in them, and whether it can be read."""

import os
import sys
import time
from multiprocessing.pool import ThreadPool

from keras_coda.utils.checks import require

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # those Keras reads
VALIDATION_NAMES = ("validation", "val", "test")  # of splits, by precedence


def _subfolders(folder):
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _find_images(folder):
    """The images of each class folder, `{class name: paths}`, as Keras finds them."""
    images = {name: [] for name in _subfolders(folder)}
    for name, paths in images.items():
        for root, _, files in sorted(os.walk(os.path.join(folder, name))):
            paths += (os.path.join(root, file) for file in sorted(files) if file.lower().endswith(EXTENSIONS))
    return images


def find_parts(folder):
    """The class folders of the two parts, or of the one to split: `{folder: {class name: paths}}`."""
    names, parts = _subfolders(folder), [folder]
    is_split = {"train"} < {*names} <= {"train", *VALIDATION_NAMES}
    if is_split and _subfolders(os.path.join(folder, "train")):  # without these, "train" is the name of a class
        validation = next(name for name in VALIDATION_NAMES if name in names)
        parts = [os.path.join(folder, "train"), os.path.join(folder, validation)]
    images = {part: _find_images(part) for part in parts}
    counts = [{name: len(paths) for name, paths in images[part].items()} for part in parts]
    rule = f"There must be at least two class folders, each with images ({', '.join(EXTENSIONS)})"
    fix = "Lay images out as folder/class_name/image.jpg"
    require(len(counts[0]) >= 2 and all(counts[0].values()), rule, fix, source=parts[0], images_per_class=counts[0])
    is_matched = counts[0].keys() == counts[-1].keys() and any(counts[-1].values())
    rule = "Training and validation must have the same class folders, with images"
    require(is_matched, rule, source=folder, images_per_class=counts)
    return images


def verify_images(paths):
    """Decode all the images, and raise the `ValueError` that names those that cannot be."""
    start = shown = time.monotonic()
    damaged = []
    with ThreadPool() as pool:
        for count, (path, error) in enumerate(zip(paths, pool.imap(_decoding_error, paths, 16), strict=True), start=1):
            if error:
                damaged.append(f"{path} ({error})")
            now, last = time.monotonic(), count == len(paths)
            if now - start > 2 and (last or now - shown > 0.5):
                print(f"\rChecked {count} of {len(paths)} images", end="\n" if last else "", file=sys.stderr)
                shown = now
    listed = "; ".join(damaged[:10]) + "; ..." * (len(damaged) > 10)
    rule = "All the images must be readable"
    require(not damaged, rule, "Repair or remove them", damaged=len(damaged), files=listed)


def _decoding_error(path):
    """Why the image cannot be decoded, or None."""
    import tensorflow as tf
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.format in ("JPEG", "MPO"):
                image.draft(None, (1, 1))  # an eighth of the size for little work, yet it reads the whole stream
                image.load()
                return None
        # Of other formats Pillow reads more than TensorFlow does: a PNG without its last bytes, for one.
        tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    except Exception as error:
        return str(error).split("} ")[-1].split(" [Op")[0]
    return None
