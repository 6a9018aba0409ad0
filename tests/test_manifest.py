import numpy as np
import pytest
from scipy.sparse import csr_array

from multihot.data.manifest import Manifest
from multihot.errors import InputError

TARGETS = np.array([[1, 0, 0], [0, -1, 1], [1, 0, 0], [0, 0, 1]], np.int8)


def create(targets=TARGETS, labels=("a", "b", "c")) -> Manifest:
    return Manifest(labels, ["w", "x", "y", "z"], csr_array(targets))


def test_target_of_a_row_is_dense_float():
    target = create().target(1)
    assert target.dtype == np.float32
    assert target.tolist() == [0, -1, 1]


def test_label_frequency_counts_known_answers_only():
    # a: 2 of 4; b: 0 of 3 known; c: 2 of 4
    assert create().label_frequency().tolist() == [0.5, 0.0, 0.5]


def test_subset_keeps_rows_in_the_order_given():
    part = create().subset(np.array([3, 0]))
    assert part.images == ["z", "w"]
    assert part.targets.toarray().tolist() == TARGETS[[3, 0]].tolist()


def test_thinning_out_spreads_over_all_images():
    assert create().thin_out(2).images == ["w", "z"]
    assert len(create().thin_out(None)) == len(create().thin_out(9)) == 4


@pytest.mark.parametrize(
    ("labels", "words"),
    [((), "no labels"), (("a", "b", "a"), "twice:\n  a"), (("a", "", "c"), "number 2 of 3"), (("a", "b"), r"\(4, 3\)")],
)
def test_wrong_label_lists_are_refused(labels, words):
    with pytest.raises(InputError, match=words):
        create(labels=labels)


def test_values_other_than_present_and_unknown_are_refused():
    with pytest.raises(InputError, match="1 \\(present\\) and -1"):
        create(targets=TARGETS * 2)
    with pytest.raises(InputError, match="int8"):
        create(targets=TARGETS.astype(np.float32))
