"""Parts have their sizes and their share of each label; what split_data.py writes is read to the same answers."""

import csv
import importlib.util
import json
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO, compose_config
from PIL import Image
from scipy.sparse import csr_array

from multihot.data import create_reader
from multihot.data.clusters import save_clusters
from multihot.data.splitting import Shares, describe_split, few_shot, k_folds, stratify
from multihot.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from iterstrat.ml_stratifiers import IterativeStratification


def sparse(rows) -> csr_array:
    return csr_array(np.asarray(rows, np.int8))


def random_targets(seed=0, num_images=1500, num_labels=50) -> csr_array:
    """Returns answers with a long tail: label k is in 3 / (k + 1) of the images, and in half of them at most."""
    frequency = np.minimum(0.5, 3 / np.arange(1, num_labels + 1))
    return sparse(np.random.RandomState(seed).random_sample((num_images, num_labels)) < frequency)


def mean_difference(targets, parts, fractions) -> float:
    shares = describe_split(targets, parts, fractions)
    return float(np.abs(shares.actual - shares.wished).mean())


def test_a_division_worked_by_hand():
    # b (2 positives, images 2 and 5) is rarer than a (4) and goes first: one each. Image 2 also has a, so that its part
    # wishes one more a and the other part two; a's three images that are left go there: 1 and 2. Image 4, without any
    # label, takes the last place.
    targets = sparse([[1, 0], [1, 0], [1, 1], [1, 0], [0, 0], [0, 1]])
    for seed in range(10):
        parts = stratify(targets, (0.5, 0.5), seed)
        assert np.bincount(parts).tolist() == [3, 3]
        assert [targets[parts == part].sum(axis=0).tolist() for part in (0, 1)] == [[2, 1], [2, 1]]
        assert parts[2] != parts[5]


def test_of_equal_wishes_the_part_that_wishes_most_images_gets_the_image():
    # five positives wish 4.5 and 0.5; after four, both wish half an image of the label, the first one 14
    # images of any label and the other one 2
    targets = sparse([[row < 5] for row in range(20)])
    for seed in range(10):
        assert stratify(targets, (0.9, 0.1), seed)[:5].tolist() == [0] * 5


@pytest.mark.parametrize("fractions", [(0.9, 0.1), (0.8, 0.1, 0.1), (0.2,) * 5])
def test_labels_are_divided_as_well_as_by_iterative_stratification(fractions):
    ours, reference, at_random = [], [], []
    for seed in range(12):
        targets = random_targets(seed)
        ours.append(mean_difference(targets, stratify(targets, fractions, seed), fractions))
        generator = np.random.RandomState(seed)
        parts = IterativeStratification(targets.toarray().astype(bool), np.array(fractions), generator)
        reference.append(mean_difference(targets, parts, fractions))
        at_random.append(mean_difference(targets, generator.choice(len(fractions), 1500, p=fractions), fractions))
    # the reference need not keep the sizes of the parts, which it misses by ten images and more
    assert np.mean(ours) < 1.1 * np.mean(reference)
    assert np.mean(ours) < 0.5 * np.mean(at_random)


@pytest.mark.parametrize(
    ("fractions", "sizes"), [((0.9, 0.1), [1350, 150]), ((0.8, 0.15, 0.05), [1200, 225, 75]), ((1.0, 0.0), [1500, 0])]
)
def test_parts_have_exactly_their_sizes(fractions, sizes):
    assert np.bincount(stratify(random_targets(), fractions, 0), minlength=len(sizes)).tolist() == sizes
    singles = csr_array(np.eye(1500, dtype=np.int8))  # each label wishes to be in the largest part
    assert np.bincount(stratify(singles, fractions, 0), minlength=len(sizes)).tolist() == sizes
    none = csr_array((1500, 3), dtype=np.int8)
    assert np.bincount(stratify(none, fractions, 0), minlength=len(sizes)).tolist() == sizes


def test_common_labels_share_what_rare_ones_have_taken():
    # 200 labels of one image all wish to be in train, 20 images more than its part of them. No label of the others, of
    # 200, 200 and 400 positives, pays for that alone: its val positives grow by about a quarter, from a tenth.
    label_of = np.concatenate([np.arange(200), np.repeat([200, 201, 202], [200, 200, 400])])
    targets = csr_array((np.ones(1000, np.int8), (np.arange(1000), label_of)), shape=(1000, 203))
    parts = stratify(targets, (0.9, 0.1), 0)
    assert np.bincount(parts).tolist() == [900, 100]
    val = describe_split(targets, parts, (0.9, 0.1)).num_positives[200:, 1]
    assert val == pytest.approx([25, 25, 50], abs=3)


def test_the_same_seed_gives_the_same_division_for_ever():
    targets = random_targets(num_images=400)
    first, again, other = (stratify(targets, (0.7, 0.3), seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.int64
    # a division of before must be the division of tomorrow
    assert np.flatnonzero(stratify(targets, (0.97, 0.03), 0)).tolist() == [
        32,
        48,
        72,
        115,
        172,
        177,
        185,
        193,
        251,
        323,
        347,
        384,
    ]


def test_unknown_and_absent_answers_are_no_positives():
    positives = random_targets().astype(np.float32)
    noisy = positives.toarray()
    noise = np.random.RandomState(1).random_sample(noisy.shape)
    noisy[(noisy == 0) & (noise < 0.1)] = -1
    noisy[(noisy == 0) & (noise > 0.95)] = 0.25
    noisy[(noisy == 1) & (noise > 0.5)] = 0.5
    stored = csr_array((noisy.ravel(), (np.repeat(np.arange(1500), 50), np.tile(np.arange(50), 1500))))
    assert stored.nnz == noisy.size  # zeros too
    assert np.array_equal(stratify(stored, (0.8, 0.2), 0), stratify(positives, (0.8, 0.2), 0))
    assert np.array_equal(few_shot(stored, 3, 0), few_shot(positives, 3, 0))
    shares = [describe_split(data, np.zeros(1500, int), (1,)).num_positives for data in (stored, positives)]
    assert np.array_equal(*shares)


@pytest.mark.parametrize("fractions", [(0.9, 0.1), (0.6, 0.2, 0.2)])
def test_clusters_stay_together_and_sizes_are_as_near_as_they_allow(fractions):
    targets = random_targets()
    clusters = np.random.RandomState(0).geometric(0.004, 1500) * 7 - 100  # of one to some images, any numbers
    largest = np.unique(clusters, return_counts=True)[1].max()
    parts = stratify(targets, fractions, 0, clusters)
    assert all(len(np.unique(parts[clusters == cluster])) == 1 for cluster in np.unique(clusters))
    assert largest > 3
    assert np.bincount(parts) == pytest.approx(np.array(fractions) * 1500, abs=1)  # single images fill the gaps
    pairs = stratify(targets, fractions, 0, np.arange(1500) // 2)
    assert mean_difference(targets, pairs, fractions) < 0.02


def test_a_cluster_larger_than_every_part_goes_to_the_largest():
    clusters = np.array([0] * 95 + [1, 2, 3, 4, 5])
    parts = stratify(sparse(np.ones((100, 1))), (0.8, 0.2), 0, clusters)
    assert parts.tolist() == [0] * 95 + [1] * 5


def test_folds_are_equal_parts():
    targets = random_targets(num_images=1001)
    folds = k_folds(targets, 4, 0)
    assert sorted(np.bincount(folds).tolist()) == [250, 250, 250, 251]
    common = describe_split(targets, folds, [0.25] * 4).actual[:10]
    assert common == pytest.approx(0.25, abs=0.04)
    for num_folds in (1, 1002):
        with pytest.raises(InputError, match=f"num_folds={num_folds}: choose from 2 to .* 1001"):
            k_folds(targets, num_folds, 0)


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (1.2, -0.2)])
def test_fractions_must_be_of_a_whole(fractions):
    with pytest.raises(InputError, match="sum up to 1, not"):
        stratify(random_targets(), fractions, 0)


@pytest.mark.parametrize("num_shots", [1, 5, 40])
def test_few_shots_are_enough_of_every_label_and_few_more(num_shots):
    targets = random_targets()
    rows = few_shot(targets, num_shots, 0)
    wanted = np.minimum(num_shots, targets.sum(axis=0))
    assert (targets[rows].sum(axis=0) >= wanted).all()
    assert np.array_equal(rows, np.unique(rows))
    # images that serve several labels at once are preferred: one for each shot would be twice as many and more
    assert len(rows) < 0.5 * wanted.sum()
    assert np.array_equal(rows, few_shot(targets, num_shots, 0))


def test_few_shots_take_no_image_that_no_label_needs():
    # labels without common images need exactly their shots
    targets = sparse(np.repeat(np.eye(4), 10, axis=0))
    rows = few_shot(targets, 3, 0)
    assert targets[rows].sum(axis=0).tolist() == [3, 3, 3, 3]


def test_few_shots_take_clusters_as_a_whole():
    clusters = np.arange(1500) // 3
    rows = few_shot(random_targets(), 4, 0, clusters)
    assert set(np.bincount(clusters[rows]).tolist()) == {0, 3}


def test_the_worst_labels_are_those_that_could_have_been_divided_better():
    # wished half and half: 1 of 1 is half an image off, 12 of 20 two images, none of none nothing
    shares = Shares(np.array([0.5, 0.5]), np.array([[1, 0], [12, 8], [0, 0], [50, 50]]))
    assert shares.difference == pytest.approx([0.5, 0.1, 0, 0])
    assert shares.images_off == pytest.approx([0.5, 2, 0, 0])
    assert shares.worst(2).tolist() == [1, 0]


# --- scripts/split_data.py ---


@pytest.fixture
def split_data(capsys) -> Callable[..., list[list[str]]]:
    """split_data("out=...", ...): runs the script in this process; returns the overrides of the commands it prints."""
    spec = importlib.util.spec_from_file_location("split_data", REPO / "scripts/split_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*overrides: str) -> list[list[str]]:
        capsys.readouterr()
        module.main.__wrapped__(compose_config("split_data", list(overrides)))
        printed = capsys.readouterr().out
        run.printed = printed
        return [shlex.split(line)[2:] for line in printed.splitlines() if line.startswith("  python train.py ")]

    return run


def read_answers(overrides: list[str], splits=("train", "val", "test")) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the answers that are not absent of each image of each split, as train.py reads them."""
    read = create_reader(compose_config("train", overrides).data)
    answers = {}
    for split in splits:
        data = read(split)
        answers[split] = {
            Path(image).name: {label: value for label, value in zip(data.labels, row, strict=True) if value}
            for image, row in zip(data.images, data.dense_targets().tolist(), strict=True)
        }
    return answers


def pool(answers: dict) -> dict:
    return {image: labels for split in answers.values() for image, labels in split.items()}


def write_data(folder: Path, header: str, row_of: Callable[[int], str], num_images=60) -> str:
    """Writes images/0.png, ... and all.csv, and returns its path."""
    (folder / "images").mkdir(exist_ok=True)
    for number in range(num_images):
        Image.new("RGB", (16, 16), "red").save(folder / f"images/{number}.png")
    lines = [header, *(f"images/{number}.png,{row_of(number)}" for number in range(num_images))]
    (folder / "all.csv").write_text("\n".join(lines))
    return str(folder / "all.csv")


def animals(number: int) -> str:
    return " ".join(name for name, step in (("cat", 2), ("dog", 3), ("owl", 10)) if number % step == 0)


THREE_PARTS = "fractions={train:0.8,val:0.1,test:0.1}"


def test_a_divided_file_is_read_to_the_same_labels(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    [overrides] = split_data(f"data.path={path}", f"out={tmp_path}/split.csv", THREE_PARTS)
    answers = read_answers(overrides)
    assert pool(answers) == {f"{number}.png": dict.fromkeys(animals(number).split(), 1) for number in range(60)}
    assert {split: len(images) for split, images in answers.items()} == {"train": 48, "val": 6, "test": 6}
    assert [sum("cat" in labels for labels in images.values()) for images in answers.values()] == [24, 3, 3]
    assert overrides == ["experiment=photos", f"data.path={tmp_path}/split.csv"]
    with (tmp_path / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "split", "labels"]
    assert {row["image"] for row in rows} == {f"images/{number}.png" for number in range(60)}


def test_images_outside_of_the_folder_get_their_whole_path(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    [overrides] = split_data(f"data.path={path}", f"out={tmp_path}/new/split.csv", THREE_PARTS)
    assert len(pool(read_answers(overrides))) == 60
    assert f"{tmp_path}/images/0.png," in (tmp_path / "new/split.csv").read_text()


def test_a_separator_is_found_that_no_label_contains(split_data, tmp_path):
    words = ["traffic light", "a;b", "été"]
    path = write_data(tmp_path, "image,labels", lambda number: "|".join(words[: number % 4]))
    source = [f"data.path={path}", "data.separator='|'", THREE_PARTS]
    [overrides] = split_data(*source, f"out={tmp_path}/split.csv")
    assert overrides[2] == 'data.separator="|"'
    assert pool(read_answers(overrides))["3.png"] == dict.fromkeys(words, 1)
    with pytest.raises(InputError, match="separator=';' must not be empty or in a label:\n  a;b"):
        split_data(*source, f"out={tmp_path}/other.csv", "separator=';'")


def test_unknown_answers_weights_and_groups_stay(split_data, tmp_path):
    def row_of(number: int) -> str:
        return f"{('red', 'blue')[number % 2]},{'cat' if number % 3 == 0 else ''},{number / 10}"

    path = write_data(tmp_path, "image,labels,unsure,importance", row_of)
    source = [
        f"data.path={path}",
        "data.unknown_column=unsure",
        "data.weight_column=importance",
        "data.labels=[blue,cat,red]",
    ]
    source.append("data.groups={colour:{labels:[red,blue],none:true}}")
    [overrides] = split_data(*source, f"out={tmp_path}/split.csv", THREE_PARTS)
    answers = pool(read_answers(overrides))
    assert (answers["3.png"], answers["4.png"]) == ({"blue": 1, "cat": -1}, {"red": 1})
    data = create_reader(compose_config("train", overrides).data)("train")
    assert data.groups[0].labels == ("red", "blue")
    names = [int(Path(image).stem) / 10 for image in data.images]
    assert data.weights == pytest.approx(names)


@pytest.mark.parametrize("unlisted", ["absent", "unknown"])
def test_soft_and_unlisted_answers_are_written_in_pairs(split_data, tmp_path, unlisted):
    values = ["1", "0.1", "0", "-1"]
    path = write_data(
        tmp_path, "image,labels,value", lambda number: f"{'cat' if number % 7 else 'dog'},{values[number % 4]}"
    )
    source = [f"data.path={path}", "data.layout=pairs", "data.value_column=value", f"data.unlisted_pairs={unlisted}"]
    [overrides] = split_data(*source, f"out={tmp_path}/split.csv", THREE_PARTS)
    assert "data.layout=pairs" in overrides
    before = read_answers(["data=csv", *source], ("train", "val"))
    assert pool(read_answers(overrides)) == pool(before)


def test_a_label_that_train_lacks_is_still_known(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", lambda number: "rare cat" if number == 0 else "cat")
    commands = split_data(f"data.path={path}", "data.labels=[cat,rare]", f"out={tmp_path}/split.csv", "num_folds=3")
    for overrides in commands:
        answers = read_answers(overrides, ("train", "val"))
        assert pool(answers) == {f"{n}.png": {"cat": 1} | ({"rare": 1} if n == 0 else {}) for n in range(60)}


def test_every_image_is_in_val_in_one_fold(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    commands = split_data(f"data.path={path}", f"out={tmp_path}/split.csv", "num_folds=3")
    assert [overrides[1] for overrides in commands] == [
        f"data.path={tmp_path}/split_fold{fold}.csv" for fold in range(3)
    ]
    folds = [read_answers(overrides, ("train", "val")) for overrides in commands]
    assert sorted(image for fold in folds for image in fold["val"]) == sorted(f"{number}.png" for number in range(60))
    assert all(len(fold["train"]) == 40 and len(pool(fold)) == 60 for fold in folds)


def test_splits_that_are_not_pooled_stay(split_data, tmp_path):
    path = write_data(
        tmp_path, "image,labels,split", lambda number: f"{animals(number)},{'test' if number < 9 else 'train'}"
    )
    source = [f"data.path={path}", f"out={tmp_path}/split.csv", "pool=[train,val]"]
    [overrides] = split_data(*source, "fractions={train:0.8,val:0.2}")
    answers = read_answers(overrides)
    assert set(answers["test"]) == {f"{number}.png" for number in range(9)}
    assert len(answers["val"]) == 10
    with pytest.raises(InputError, match="test is not in pool and keeps its images"):
        split_data(*source, THREE_PARTS, "overwrite=true")


def test_train_is_reduced_to_few_shots(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    [overrides] = split_data(f"data.path={path}", f"out={tmp_path}/few.csv", THREE_PARTS, "num_shots=2")
    answers = read_answers(overrides)
    assert set(answers["train"]) == {"0.png", "30.png"}  # cats, dogs and owls both
    assert (len(answers["val"]), len(answers["test"])) == (6, 6)


def test_few_shots_keep_clusters_whole(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels,patient", lambda number: f"{animals(number)},{number // 3}")
    source = [f"data.path={path}", "data.cluster_column=patient", "fractions={train:0.8,val:0.2}", "num_shots=2"]
    [overrides] = split_data(*source, f"out={tmp_path}/few.csv")
    train = read_answers(overrides, ("train", "val"))["train"]
    assert sum("owl" in labels for labels in train.values()) >= 2
    assert sorted(train) == sorted(f"{3 * patient + k}.png" for patient in patients_of(train) for k in range(3))
    assert len(train) < 48


def patients_of(images) -> set[int]:
    return {int(Path(image).stem) // 3 for image in images}


def test_clusters_of_a_file_and_of_the_data_stay_together(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels,patient", lambda number: f"{animals(number)},{number // 2}")
    joined = ["image,cluster", *(f"images/{number}.png,{number // 6}" for number in range(0, 60, 2))]
    (tmp_path / "clusters.csv").write_text("\n".join(joined))
    source = [f"data.path={path}", "data.cluster_column=patient", f"clusters={tmp_path}/clusters.csv"]
    [overrides] = split_data(*source, f"out={tmp_path}/split.csv", THREE_PARTS)
    split_of = {image: split for split, images in read_answers(overrides).items() for image in images}
    assert all(split_of[f"{number}.png"] == split_of[f"{number // 6 * 6}.png"] for number in range(60))
    assert sorted(split_of.values()).count("val") == 6


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([THREE_PARTS, "num_folds=2"], "give either"),
        ([], "give either"),
        (["fractions={train:0.5,dev:0.5}"], r"dev:0\.5\}: expected \{train, val, test"),
        (["fractions={val:0.5,test:0.5}"], "must have train"),
        (["fractions={train:0.5,val:0.4}"], "sum up to 1"),
        ([THREE_PARTS, "pool=[all]"], "expected a list, each one of train, val, test"),
        ([THREE_PARTS, "out=split.txt"], r"must end in \.csv"),
        ([THREE_PARTS, "clusters=nowhere.csv"], "cannot read clusters=nowhere.csv"),
        (["num_folds=1"], "num_folds=1: expected a whole number from 2 up"),
    ],
)
def test_a_wrong_setting_is_told(split_data, tmp_path, overrides, words):
    path = write_data(tmp_path, "image,labels", animals, num_images=20)
    with pytest.raises(InputError, match=words):
        split_data(f"data.path={path}", f"out={tmp_path}/split.csv", *overrides)
    assert not list(tmp_path.glob("*split*"))


def test_cluster_files_that_fit_no_image_are_refused(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals, num_images=20)
    clusters = tmp_path / "clusters.csv"
    for text, words in (
        ("image,cluster\nx.png,1", "lists none of the images"),
        ("image,patient\nx.png,1", "must have the"),
    ):
        clusters.write_text(text)
        with pytest.raises(InputError, match=words):
            split_data(f"data.path={path}", f"out={tmp_path}/split.csv", THREE_PARTS, f"clusters={clusters}")


def test_the_clusters_of_data_without_copies_leave_each_image_alone(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals, num_images=20)
    save_clusters(tmp_path / "clusters.csv", [f"{number}.png" for number in range(20)], np.arange(20))
    split_data(f"data.path={path}", f"out={tmp_path}/a.csv", THREE_PARTS, f"clusters={tmp_path}/clusters.csv")
    split_data(f"data.path={path}", f"out={tmp_path}/b.csv", THREE_PARTS)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_what_belongs_to_an_image_that_keeps_its_split_is_left_out(split_data, tmp_path):
    path = write_data(
        tmp_path, "image,labels,split", lambda number: f"{animals(number)},{'test' * (number < 6) or 'train'}"
    )
    (tmp_path / "clusters.csv").write_text(
        "image,cluster\nimages/2.png,a\nimages/40.png,a\nimages/41.png,b\nimages/42.png,b"
    )
    source = [f"data.path={path}", f"clusters={tmp_path}/clusters.csv", "pool=[train,val]"]
    [overrides] = split_data(*source, f"out={tmp_path}/split.csv", "fractions={train:0.8,val:0.2}")
    answers = read_answers(overrides)
    assert sorted(map(len, answers.values())) == [6, 11, 42]
    assert "40.png" not in {image for images in answers.values() for image in images}


def test_a_file_is_replaced_only_if_told(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    (tmp_path / "split.csv").write_text("precious")
    source = [f"data.path={path}", f"out={tmp_path}/split.csv", THREE_PARTS]
    with pytest.raises(InputError, match=r"there already; overwrite=true replaces them:\n  .*split\.csv"):
        split_data(*source)
    assert (tmp_path / "split.csv").read_text() == "precious"
    split_data(*source, "overwrite=true")
    assert (tmp_path / "split.csv").read_text().startswith("image,split,labels\n")


def test_the_table_names_sizes_and_labels(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    split_data(f"data.path={path}", f"out={tmp_path}/split.csv", THREE_PARTS)
    assert [line.split() for line in split_data.printed.splitlines()[:4]] == [
        ["part", "images", "share", "wished"],
        ["train", "48", "80.00%", "80.00%"],
        ["val", "6", "10.00%", "10.00%"],
        ["test", "6", "10.00%", "10.00%"],
    ]
    assert "3 of 3 labels are less than one image from the wish" in split_data.printed
    assert "cat 30 24 (24.0) 3 (3.0) 3 (3.0)" in " ".join(split_data.printed.split())


def test_help_explains_every_setting_and_mistakes_end_in_a_line(tmp_path, call_script):
    output = call_script("scripts/split_data.py", "--help").stdout
    assert [key for key in compose_config("split_data", []) if f"\n  {key} " not in output] == []
    result = call_script("scripts/split_data.py", f"data.path={tmp_path}/no.csv", f"out={tmp_path}/x.csv", THREE_PARTS)
    assert result.returncode == 1
    assert f"\nError: cannot read {tmp_path}/no.csv" in result.stderr


def test_tasks_of_label_studio_have_the_splits_and_answers(split_data, tmp_path):
    path = write_data(tmp_path, "image,labels", animals)
    split_data(f"data.path={path}", f"out={tmp_path}/split.csv", THREE_PARTS)
    split_data(f"data.path={path}", f"out={tmp_path}/tasks.json", THREE_PARTS)
    assert "serves files from " + str(tmp_path) in split_data.printed
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    export = [{"id": number} | task for number, task in enumerate(tasks)]
    (tmp_path / "export.json").write_text(json.dumps(export))
    settings = [f"data.root={tmp_path}", f"data.interface={tmp_path}/tasks.json.xml"]
    told = read_answers(["data=label_studio", f"data.path={tmp_path}/export.json", *settings])
    assert told == read_answers(["data=csv", f"data.path={tmp_path}/split.csv"])
    with pytest.raises(InputError, match=r"there already.*\n.*tasks\.json\n.*tasks\.json\.xml"):
        split_data(f"data.path={path}", f"out={tmp_path}/tasks.json", THREE_PARTS)
