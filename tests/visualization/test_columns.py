"""Claims about where images and their names stand in a picture."""

import pytest

from keras_coda.visualization.maps import plot_contributions
from tests.helpers.map_arguments import arguments


def words(axes):
    return "\n".join(text.get_text() for text in axes.texts)


@pytest.mark.parametrize(("batch", "targets", "columns"), [(4, 1, 1), (5, 1, 2), (8, 2, 2), (6, 5, 1)])
def test_many_images_stand_in_as_many_columns_as_a_page_holds(batch, targets, columns):
    figure = plot_contributions(**arguments(batch, targets), names=[f"{index}.png" for index in range(batch)])
    firsts = [axes for axes in figure.axes if words(axes).endswith(".png")]
    assert [words(axes) for axes in firsts] == [f"{index}.png" for index in range(batch)]
    lefts = [round(axes.get_position().x0, 6) for axes in firsts]
    assert len(set(lefts)) == columns
    assert lefts[:columns] == sorted(set(lefts))  # one row after the other
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])
    assert figure.get_figwidth() < 13


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "cat.jpg"),
        ({"labels": ["cat"]}, "cat\ntrue class\ncat.jpg"),
        ({"wrt": "dau_1"}, "cat.jpg\nfrom layer dau_1 on"),
        ({"labels": ["cat"], "wrt": "x"}, "cat\ntrue class of cat.jpg\nfrom layer x on"),
    ],
)
def test_an_image_is_called_by_the_name_of_its_file(more, expected):
    assert words(plot_contributions(**arguments(1, 1), names=("cat.jpg",), **more).axes[0]) == expected
