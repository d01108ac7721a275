"""Labels in a CSV file: ``file,cat,dog`` in the first line, then a file and 0 or 1 for each class.

This module needs nothing but the standard library: the command line uses it before TensorFlow is imported.
"""

import csv
import dataclasses
import os

_SHOWN = 10  # problems in a message


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """The images of a CSV file and their labels.

    Attributes:
        source: path of the CSV file.
        class_names: one for each column after the first.
        paths: of the images.
        labels: for each image a 0 or 1 for each class.
    """

    source: str
    class_names: tuple[str, ...]
    paths: list[str]
    labels: list[tuple[int, ...]]


def is_table(source: str | os.PathLike) -> bool:
    """Return whether a data source is meant as a CSV file: its name ends in ``.csv``, and it is no folder."""
    path = os.path.expanduser(os.fspath(source))
    return path.lower().endswith(".csv") and not os.path.isdir(path)


def read_tables(source: str | os.PathLike, validation: str | os.PathLike | None = None) -> list[LabelTable]:
    """Read one CSV file of labels, or one for training and one for validation.

    Args:
        source: path of the CSV file.
        validation: path of the second one, with the same classes in any order; None for none.

    Returns:
        One or two tables, with the classes in the order of the first.

    Raises:
        ValueError: if a file cannot be read, its first line is not ``file`` and at least two names of classes, a line
            has other columns, a value is not 0 or 1, an image does not exist or is in two lines, the classes of the two
            files differ, or both have the same image. The message has all of the first problems, with their lines.
    """
    tables = [_read(source)]
    if validation is None:
        return tables
    other, names = _read(validation), tables[0].class_names
    if sorted(other.class_names) != sorted(names):
        unknown = [name for name in other.class_names if name not in names]
        missing = [name for name in names if name not in other.class_names]
        raise ValueError(
            "Training and validation must have the same class columns. Received: "
            f"'{other.source}' with the unknown columns {unknown[:_SHOWN]}, without {missing[:_SHOWN]}."
        )
    order = [other.class_names.index(name) for name in names]
    labels = [tuple(row[index] for index in order) for row in other.labels]
    trained = set(map(os.path.realpath, tables[0].paths))
    shared = [path for path in other.paths if os.path.realpath(path) in trained]
    if shared:
        raise ValueError(
            f"Images for validation must not be among those for training. Received: {len(shared)} that are in both "
            f"files, for instance '{shared[0]}'. Remove them from one of the two."
        )
    return [*tables, dataclasses.replace(other, class_names=names, labels=labels)]


def _read(source):
    source = os.path.expanduser(os.fspath(source))
    try:
        with open(source, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"Labels must be in a readable CSV file, UTF-8. Received: '{source}' ({reason}).") from error
    header = lines[0][1] if lines else []
    names = tuple(header[1:])
    if header[:1] != ["file"] or len(names) < 2 or "" in names or len(set(names)) < len(names):
        raise ValueError(
            "The first line of a CSV file with labels must be 'file' and at least two different names of classes, "
            f"separated by commas. Received: '{source}' with {','.join(header)!r:.300}. For a single label write two "
            "columns, yes and no."
        )
    paths, labels, problems, seen = [], [], [], {}
    folder = os.path.dirname(source)
    for line, (name, *values) in lines[1:]:
        path = os.path.join(folder, name)
        wrong = [f"{value!r} for {names[i]}" for i, value in enumerate(values[: len(names)]) if value not in ("0", "1")]
        place = os.path.realpath(path)
        if len(values) != len(names):
            problems.append(f"line {line}: {len(values) + 1} columns instead of {len(names) + 1}")
        elif wrong:
            problems.append(f"line {line}: {', '.join(wrong[:3])} instead of 0 or 1")
        elif not os.path.isfile(path):
            problems.append(f"line {line}: no file '{path}'")
        elif place in seen:
            problems.append(f"line {line}: '{name}' again, it is in line {seen[place]}")
        seen.setdefault(place, line)
        paths.append(path)
        labels.append(tuple(value == "1" for value in values))
    if not paths:
        problems.append("no images")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ValueError(
            "Every line of a CSV file with labels must have an image, relative to the folder of that file, once, and 0 "
            f"or 1 for each class. Received: '{source}', {'; '.join(problems[:_SHOWN])}{more}. Correct these lines."
        )
    return LabelTable(source, names, paths, [tuple(map(int, row)) for row in labels])
