import re
import unicodedata

import numpy as np
import pytest

from keras_coda.utils.class_names import class_index, class_indices, replace_names


@pytest.mark.parametrize(
    ("names", "entry", "index"),
    [
        (("A", "a"), "a", 1),
        (("A", "a"), "A", 0),
        (("Cat", "dog"), "cat", 0),
        (("Cat", "dog"), "DOG", 1),
        (("straße", "x"), "STRASSE", 0),
        ((unicodedata.normalize("NFD", "Käse"), "x"), unicodedata.normalize("NFC", "käse"), 0),
        (("1", "2", "0"), "2", 1),  # a name before an index
        (("1", "2", "0"), 2, 2),  # an integer is an index
        (("1", "2", "0"), np.int64(0), 0),
        (("²", "x"), "²", 0),
        (("x", "y"), "1", 1),
        (None, "1", 1),
    ],
)
def test_names_that_are_equal_come_first_then_other_spellings_then_indices(names, entry, index):
    assert class_index(entry, names, 3) == index


@pytest.mark.parametrize(
    ("names", "entry"), [(("Crane", "crane"), "CRANE"), (("crane", "x", "crane"), "crane"), (("É", "é"), "E\u0301")]
)
def test_a_name_that_fits_several_classes_is_refused(names, entry):
    with pytest.raises(ValueError, match=rf"must fit one class. Received: '{entry}', which fits .*Give the index"):
        class_index(entry, names)


@pytest.mark.parametrize("entry", ["²", "٣", "-1", "3", "1.0", "", " 1", 3, -1, True, 1.0, None])
def test_what_is_no_class_is_refused(entry):
    message = re.escape(f"Classes are names, or indices in [0, 2]. Received: {entry!r}. ")
    with pytest.raises(ValueError, match=message):
        class_index(entry, ("cat", "dog", "frog"), 3)


def test_similar_names_are_proposed_and_of_many_names_the_first_are_listed():
    with pytest.raises(ValueError, match="Did you mean 'Frog'?"):
        class_index("forg", ("Frog", "cat"))
    with pytest.raises(ValueError, match=r"Names: 0, 1, .*, 19, \.\.\.\.$"):
        class_index("zebra", [str(number) for number in range(1000)])
    with pytest.raises(ValueError, match="Names: none"):
        class_index("zebra", None)


def test_names_are_replaced_at_every_depth_and_all_else_is_kept():
    names = ("cat", "dog", "1")
    assert class_indices(["dog", 0, "1"], names) == [1, 0, 2]
    assert replace_names("dog", names) == 1
    assert replace_names(["dog", "cat"], names) == [1, 0]
    assert replace_names([("dog", 1), ("1", 0)], names) == [[1, 1], [2, 0]]
    assert replace_names(np.array([["dog"], ["cat"]]), names) == [[1], [0]]
    for kept in (None, 1, np.array([1, 0]), 2.5):
        assert replace_names(kept, names) is kept
