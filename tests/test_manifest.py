from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from multihot.data.manifest import BadImage, Manifest
from multihot.errors import InputError
from multihot.labels import Group

TARGETS = np.array([[1, 0, 0], [0, -1, 1], [1, 0, 0], [0, 0, 1]], np.int8)


def create(targets=TARGETS, labels=("a", "b", "c"), groups=()) -> Manifest:
    return Manifest(labels, ["w", "x", "y", "z"], csr_array(np.asarray(targets)), groups=groups)


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


def test_manifests_put_together_have_what_each_of_them_has():
    data = Manifest(
        ("a", "b", "c"), ["w", "x", "y", "z"], csr_array(TARGETS.astype(np.float32)), read=np.asarray,
        groups=(Group("pair", ("a", "c")),), unlisted=-1, weights=np.arange(4, dtype=np.float32), clusters=np.arange(4),
        shards=np.array([0, 0, 1, 1]), places=["line 2", "line 3", "line 4", "line 5"], dropped=(BadImage("v", "cut"),),
        num_listed_absent=5,
    )  # fmt: skip
    assert not [field.name for field in fields(data) if getattr(data, field.name) is field.default]
    whole = Manifest.concatenate([data, data])
    for field in fields(data):
        one, both = (getattr(manifest, field.name) for manifest in (data, whole))
        if field.name in ("labels", "read", "groups", "unlisted"):  # of all images
            assert both == one
        elif field.name == "num_listed_absent":
            assert both == 10
        else:
            one, both = (part.toarray() if field.name == "targets" else part for part in (one, both))
            assert np.array_equal(both, [*one, *one]), field.name
    assert whole.targets.dtype == np.float32


def test_what_one_part_does_not_know_the_whole_does_not_know():
    assert Manifest.concatenate([create(), replace(create(), weights=np.ones(4, np.float32))]).weights is None


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


def test_values_that_are_no_answers_are_refused():
    with pytest.raises(InputError, match="must be int8"):
        create(targets=TARGETS * 2)
    with pytest.raises(InputError, match="int8"):
        create(targets=TARGETS.astype(np.float64))


PAIR, PAIR_OR_NONE = Group("pair", ("c", "a")), Group("pair", ("c", "a"), none=True)


def int8(*rows):
    return np.array(rows, np.int8)


def test_sparse_and_dense_targets_of_a_row_are_the_same():
    columns, values = create().sparse_target(1)
    assert (columns.tolist(), values.tolist()) == ([1, 2], [-1.0, 1.0])
    assert (columns.dtype, values.dtype) == (np.int64, np.float32)


def test_counts_are_of_known_answers():
    assert create().counts() == {"label_count": [2, 0, 2], "num_known": [4, 3, 4], "num_images": 4}


def test_an_image_with_two_labels_of_a_group_is_named():
    targets = int8([1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1])
    for group, words in ((PAIR, "exactly one"), (PAIR_OR_NONE, "at most one")):
        with pytest.raises(InputError, match=f"1 image has not {words} label of the group 'pair'.*\n  x: 2 labels"):
            create(targets, groups=(group,))


def test_an_image_with_no_label_of_a_group_needs_none_to_be_allowed():
    targets = int8([1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0])
    assert create(targets, groups=(PAIR_OR_NONE,)).groups == (PAIR_OR_NONE,)
    with pytest.raises(InputError, match=r"2 images .*none: true allows.*\n  x: 0 labels\n  z: 0 labels"):
        create(targets, groups=(PAIR,))


def test_unknown_answers_of_a_group_may_hide_its_label():
    create(int8([-1, 0, -1], [0, 0, -1], [1, 0, -1], [0, 0, 1]), groups=(PAIR,))
    with pytest.raises(InputError, match="w: 2 labels"):
        create(int8([1, -1, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]), groups=(PAIR,))


def test_groups_stay_with_a_part_of_the_images_and_reach_the_label_space():
    data = create(int8([1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]), groups=(PAIR,)).subset(np.array([3, 0]))
    space = data.label_space(single_label=False, activation="tanh")
    assert (space.labels, space.groups, space.activation) == (("a", "b", "c"), (PAIR,), "tanh")
    with pytest.raises(InputError, match=r"take it or data.groups"):
        data.label_space(single_label=True, activation="sigmoid")


def test_a_group_of_labels_that_the_data_has_not_is_refused():
    with pytest.raises(InputError, match=r"the data has not.*:\n  d"):
        create(groups=(Group("pair", ("a", "d")),))


def test_single_label_makes_all_labels_one_group_and_checks_the_images():
    assert create(np.eye(4, 3, dtype=np.int8)[[0, 1, 2, 0]]).label_space(True, "sigmoid").is_single_label
    with pytest.raises(InputError, match=r"exactly one label.* single_label=true:\n  y: 2 labels"):
        create(int8([1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1])).label_space(True, "sigmoid")


def large():
    targets = (np.random.RandomState(7).random_sample((2000, 4)) < [0.5, 0.1, 0.0, 1.0]).astype(np.int8)
    return Manifest(("a", "b", "c", "d"), [str(row) for row in range(2000)], csr_array(targets))


def test_hiding_makes_a_random_part_of_all_answers_unknown_and_changes_no_other():
    data = large()
    hidden, before = data.hide(0.3, seed=0).targets.toarray(), data.targets.toarray()
    unknown = hidden == -1
    # of each label, and of positives as of negatives; three standard deviations of 2,000 draws are 0.03
    assert unknown.mean(axis=0) == pytest.approx(0.3, abs=0.03)
    assert unknown[before[:, 0] == 1, 0].mean() == pytest.approx(0.3, abs=0.045)
    assert np.array_equal(hidden[~unknown], before[~unknown])
    assert data.hide(0.3, seed=0).targets.dtype == np.int8


def test_hiding_is_decided_by_its_seed():
    first, again, other = (large().hide(0.5, seed).targets.toarray() for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_hidden_is_the_manifest_itself():
    data = create()
    assert data.hide(0, seed=0) is data


def test_answers_of_a_group_can_be_hidden():
    data = create(int8([1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]), groups=(PAIR,))
    assert data.hide(0.5, seed=0).groups == (PAIR,)


def test_targets_can_say_that_what_is_not_stored_is_unknown():
    stored = csr_array((np.int8([1, 0, 1]), ([0, 0, 2], [0, 2, 1])), shape=(4, 3))  # keeps its explicit 0
    manifest = Manifest(("a", "b", "c"), ["w", "x", "y", "z"], stored, unlisted=-1)
    dense = [[1, -1, 0], [-1, -1, -1], [-1, 1, -1], [-1, -1, -1]]
    assert manifest.dense_targets().tolist() == dense
    assert [manifest.target(row).tolist() for row in range(4)] == dense
    assert manifest.subset(np.array([2, 0])).dense_targets().tolist() == [dense[2], dense[0]]
    assert manifest.counts() == {"label_count": [1, 1, 0], "num_known": [1, 1, 1], "num_images": 4}


def test_soft_answers_are_kept_and_counted_by_their_value():
    manifest = create(targets=np.array([[0.25, 0, 0], [0, -1, 1], [1, 0, 0], [0, 0, 0.5]], np.float32))
    assert (manifest.is_soft, create().is_soft) == (True, False)
    assert manifest.target(0).tolist() == [0.25, 0, 0]
    assert manifest.label_count().tolist() == [1.25, 0, 1.5]
    assert manifest.label_frequency().tolist() == [1.25 / 4, 0, 1.5 / 4]
