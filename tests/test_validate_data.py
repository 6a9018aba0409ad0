"""Every fault that a data set may have is planted alone, and found alone: named, with its file and row."""

import csv
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from conftest import REPO, compose_config, load_script
from markupsafe import escape
from picture_files import write_tiff
from PIL import Image, ImageCms

from multihot.data import create_reader
from multihot.data.checks.duplicates import close_pairs, count_ones, near_clusters
from multihot.data.checks.findings import KINDS
from multihot.data.checks.inspection import ImageFacts, inspect_image, inspect_images, perceptual_hashes
from multihot.data.clusters import members
from multihot.data.readers.web_dataset import ShardImages
from multihot.errors import InputError
from multihot.files import file_stamp

SPLITS = ("train", "train", "train", "val", "test")  # of lines 2 to 6; their images are 2.png to 6.png


def draw(seed: int, size=(64, 64)) -> Image.Image:
    """Returns a picture of soft coloured blots, another one for each seed."""
    blots = np.random.RandomState(seed).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    return Image.fromarray(blots).resize(size, Image.Resampling.BICUBIC)


class Folder:
    """A data set without faults, to plant some in."""

    def __init__(self, path):
        self.path = path
        self.rows = {line: [f"{line}.png", split, "cat;dog"] for line, split in enumerate(SPLITS, start=2)}
        for line in self.rows:
            draw(line).save(path / f"{line}.png")
        for number, split in enumerate(("train", "val", "test"), start=50):
            draw(number).save(path / f"no_{split}.png")

    def image(self, line: int):
        return self.path / self.rows[line][0]

    def replace(self, picture: Image.Image, line=3, suffix="png", **settings) -> None:
        """Stores another picture as that of a line."""
        self.rows[line][0] = f"{line}.{suffix}"
        picture.save(self.image(line), **settings)

    def append(self, name: str, split: str, labels="cat;dog") -> None:
        """Adds line 7."""
        self.rows[7] = [name, split, labels]

    def label(self, labels: str, lines=(2, 3, 4, 5, 6)) -> None:
        for line in lines:
            self.rows[line][2] = labels

    def write(self) -> str:
        """Writes the list, with an image without any label at the end of each split."""
        rows = [*self.rows.values()]
        rows += [[f"no_{split}.png", split, ""] for split in dict.fromkeys(SPLITS) if any(split in row for row in rows)]
        with (self.path / "list.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["image", "split", "labels"], *rows])
        return str(self.path / "list.csv")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def validate(folder: Folder, *overrides: str) -> tuple[dict, int]:
    """Returns the report and the exit code."""
    out = folder.path / "report"
    settings = [f"data.path={folder.write()}", 'data.separator=";"', f"out={out}", "num_workers=1", *overrides]
    try:
        load_script("scripts/validate_data").main.__wrapped__(compose_config("validate_data", settings))
        code = 0
    except SystemExit as end:
        code = end.code
    return json.loads((out / "report.json").read_text()), code


def found(report: dict) -> dict[str, list[list[str]]]:
    """Returns the places of each case of each kind of fault."""
    return {
        finding["kind"]: [[image["place"] for image in entry["images"]] for entry in finding["entries"]]
        for finding in report["findings"]
    }


def cut(folder: Folder, suffix: str) -> None:
    folder.replace(draw(3), suffix=suffix)
    content = folder.image(3).read_bytes()
    folder.image(3).write_bytes(content[: len(content) // 2])


def turn(folder: Folder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.replace(draw(3, (64, 48)), suffix="jpg", exif=exif)


def copy(folder: Folder, split: str, labels="cat;dog") -> None:
    shutil.copy(folder.image(2), folder.path / "copy.png")
    folder.append("copy.png", split, labels)


def encode_again(folder: Folder, split: str) -> None:
    draw(2).resize((50, 50), Image.Resampling.BICUBIC).save(folder.path / "again.jpg", quality=60)
    folder.append("again.jpg", split)


def mirror(folder: Folder, split: str) -> None:
    flipped = draw(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.resize((50, 50), Image.Resampling.BICUBIC).save(folder.path / "mirrored.jpg", quality=60)
    folder.append("mirrored.jpg", split)


def share(picture: Image.Image, suffix: str, **settings):
    """Returns a fault: line 3 has this picture."""
    return lambda folder: folder.replace(picture, suffix=suffix, **settings)


IMAGE_FAULTS = {
    "missing": ("missing", lambda folder: folder.image(3).unlink()),
    "not an image": ("unreadable", lambda folder: folder.image(3).write_text("no image")),
    "empty file": ("unreadable", lambda folder: folder.image(3).write_bytes(b"")),
    "float image": ("unreadable", share(Image.new("F", (64, 64), 0.5), "tif")),
    "cut JPEG": ("truncated", lambda folder: cut(folder, "jpg")),
    "cut PNG": ("truncated", lambda folder: cut(folder, "png")),
    "huge": ("huge", share(Image.new("1", (10_000, 10_000)), "png")),
    "very huge": ("huge", share(Image.new("1", (20_000, 10_000)), "png")),
    "one pixel": ("one_pixel", share(Image.new("RGB", (1, 1)), "png")),
    "one column": ("one_pixel", share(draw(3, (1, 64)), "png")),
    "constant": ("constant", share(Image.new("RGB", (64, 64), "teal"), "png")),
    "constant JPEG": ("constant", share(Image.new("RGB", (64, 64), "teal"), "jpg", quality=40)),
    "dark": ("faint", share(draw(3).point(lambda level: level // 8), "png")),
    "bright": ("faint", share(draw(3).point(lambda level: 255 - level // 8), "png")),
    "pale": ("faint", share(draw(3).point(lambda level: 128 + level // 32), "png")),
    "wide": ("cropped", share(draw(3, (256, 64)), "png")),
    "tiny": ("tiny", share(draw(3, (40, 31)), "png")),
    "grey": ("not_rgb", share(draw(3).convert("L"), "jpg")),
    "16 bits": ("not_rgb", share(Image.fromarray(np.asarray(draw(3).convert("L")).astype(np.uint16) << 8), "png")),
    "palette": ("not_rgb", share(draw(3).quantize(200), "png")),
    "transparent": ("not_rgb", share(draw(3).convert("RGBA"), "png")),
    "CMYK": ("not_rgb", share(draw(3).convert("CMYK"), "jpg")),
    "turned": ("turned", turn),
    "animated": ("animated", share(draw(3), "png", save_all=True, append_images=[draw(30)])),
    "several pages": ("animated", share(draw(3), "tif", save_all=True, append_images=[draw(30)])),
}
COPY_FAULTS = {
    "copy in another split": ("duplicates_across_splits", lambda folder: copy(folder, "test")),
    "copy in the same split": ("duplicates", lambda folder: copy(folder, "train")),
    "copy with other labels": ("different_labels", lambda folder: copy(folder, "train", "dog")),
    "similar in another split": ("near_duplicates_across_splits", lambda folder: encode_again(folder, "val")),
    "similar in the same split": ("near_duplicates", lambda folder: encode_again(folder, "train")),
    "mirrored in another split": ("near_duplicates_across_splits", lambda folder: mirror(folder, "test")),
    "mirrored in the same split": ("near_duplicates", lambda folder: mirror(folder, "train")),
}


def test_a_data_set_without_faults_has_no_findings(folder):
    report, code = validate(folder, "strict=true")
    assert (found(report), report["problems"], report["warnings"], code) == ({}, 0, 0, 0)
    assert "OK: no problems, no warnings" in (folder.path / "report/report.html").read_text()
    assert (folder.path / "report/clusters.csv").read_text().split() == ["image,cluster"]


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_a_fault_of_an_image_is_found_with_its_line_and_nothing_else(folder, fault):
    kind, plant = IMAGE_FAULTS[fault]
    plant(folder)
    report, code = validate(folder)
    assert found(report) == {kind: [[f"{folder.path}/list.csv line 3"]]}
    [image] = report["findings"][0]["entries"][0]["images"]
    assert (image["image"], image["split"]) == (str(folder.image(3)), "train")
    severity = next(one.severity for one in KINDS if one.name == kind)
    assert (report["problems"], report["warnings"]) == ((1, 0) if severity == "problem" else (0, 1))
    assert code == (severity == "problem")
    page = (folder.path / "report/report.html").read_text()
    assert ">list.csv line 3</td>" in page
    assert str(escape(report["findings"][0]["advice"])) in page


@pytest.mark.parametrize("fault", COPY_FAULTS)
def test_copies_are_found_with_the_lines_of_both_and_nothing_else(folder, fault):
    kind, plant = COPY_FAULTS[fault]
    plant(folder)
    report, code = validate(folder)
    assert list(found(report)) == [kind]
    [lines] = found(report)[kind]
    assert sorted(lines) == [f"{folder.path}/list.csv line 2", f"{folder.path}/list.csv line 7"]
    assert code == (kind not in ("duplicates", "near_duplicates"))
    assert ("mirrored" in fault) == (report["findings"][0]["entries"][0]["detail"] == "mirrored")
    assert ("mirrored" in fault) == ("<td>mirrored</td>" in (folder.path / "report/report.html").read_text())
    clusters = (folder.path / "report/clusters.csv").read_text().split()
    assert sorted(clusters[1:]) == sorted([f"{folder.image(2)},0", f"{folder.image(7)},0"])
    assert (folder.path / "report/report.html").read_text().count("data:image/jpeg") == 2


def test_a_copy_in_another_split_with_other_labels_is_both(folder):
    copy(folder, "test", "dog")
    report, _ = validate(folder)
    assert list(found(report)) == ["duplicates_across_splits", "different_labels"]
    assert report["findings"][1]["entries"][0]["detail"] == "differ in cat"


def test_12_bits_in_16_are_found_with_the_setting_that_shows_them(folder):
    for line in (3, 5):
        grey = np.asarray(draw(line).convert("L")).astype(np.uint16) << 4
        folder.replace(Image.fromarray(grey), line)
    report, code = validate(folder)
    assert list(found(report)) == ["value_range", "faint", "not_rgb"]
    [entry] = report["findings"][0]["entries"]
    assert [image["place"] for image in entry["images"]] == [f"{folder.path}/list.csv line {line}" for line in (3, 5)]
    assert entry["detail"].endswith("and 0 is shown as black, 65535 as white: set data.value_range=[0,4095]")
    assert "data.value_range=[0,4095]" in (folder.path / "report/report.html").read_text()
    assert code == 0
    assert list(found(validate(folder, "data.value_range=[0,4095]")[0])) == ["not_rgb"]


def test_the_report_says_how_much_of_the_pictures_is_never_seen(folder):
    report, _ = validate(folder)
    assert report["images"]["never_seen"] == {"mean": 0.19, "worst": 0.19}  # 1 - 0.9^2
    folder.replace(draw(3, (256, 64)))
    report, _ = validate(folder)
    others = sum(split["num_images"] for split in report["splits"]) - 1
    mean = round((0.19 * others + 0.7975) / (others + 1), 4)
    assert report["images"]["never_seen"] == {"mean": mean, "worst": 0.7975}  # 1 - 0.81 / 4
    assert (
        f"{100 * mean:.0f}% of their area in the mean, 80% of the worst"
        in (folder.path / "report/report.html").read_text()
    )


def test_a_first_page_that_is_smaller_and_bands_that_are_left_out_are_told(folder):
    folder.replace(draw(3), suffix="tif", save_all=True, append_images=[draw(30, (640, 480))])
    folder.rows[5][0] = "5.tif"
    folder.image(5).write_bytes(write_tiff(np.dstack([np.asarray(draw(5)), np.asarray(draw(6))[..., 0]]), 2, extra=[0]))
    report, _ = validate(folder)
    assert found(report).keys() == {"animated", "not_rgb"}
    details = [finding["entries"][0]["detail"] for finding in report["findings"]]
    assert (
        details[0] == "2 frames or pages; the one that counts is 64 x 64 pixels, another 640 x 480: is it a thumbnail?"
    )
    assert details[1] == "mode RGB and 1 bands left out"


def test_the_report_counts_colour_profiles(folder):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    folder.replace(draw(3), icc_profile=profile)
    folder.replace(draw(5), 5, icc_profile=b"no profile")
    report, _ = validate(folder)
    assert report["images"]["profiles"] == {"sRGB built-in": 1, "damaged": 1}
    assert "sRGB built-in 1, damaged 1" in (folder.path / "report/report.html").read_text()


def test_a_shard_with_a_picture_that_is_none_is_found(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        for name, content in (("1.jpg", b"<html>"), ("1.cls", b"0"), ("2.png", b""), ("2.cls", b"0")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    read = ShardImages({f"{tmp_path}/a.tar": file_stamp(tmp_path / "a.tar")})
    facts = inspect_image(f"{tmp_path}/a.tar#512+6#1.jpg", read)
    assert facts.status == "unreadable"
    assert "not an image but a web page" in facts.reason


def test_labels_without_positives_are_named_with_their_split(folder):
    folder.label("cat", [5])
    report, code = validate(folder)
    assert found(report) == {"label_without_images": [[]]}
    assert report["findings"][0]["entries"][0]["detail"] == "'dog': none of the 2 val images"
    assert code == 0
    folder.label("cat;dog;owl", [5, 6])
    report, code = validate(folder, "data.labels=[cat,dog,owl]")
    assert found(report) == {"label_without_train_images": [[]]}
    assert report["findings"][0]["entries"][0]["detail"] == "'owl': none of the 4 train images"
    assert code == 1


def columns_file(folder: Folder, rows: list[tuple]) -> list[str]:
    """Writes a column a label, for the images of lines 2 to 6 and those without a label; returns the settings."""
    names = [*(f"{line}.png" for line in range(2, 7)), "no_train.png", "no_val.png", "no_test.png"]
    splits = [*SPLITS, "train", "val", "test"]
    with (folder.path / "columns.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["image", "split", "cat", "dog"], *([*part, *row] for *part, row in zip(names, splits, rows, strict=True))]
        )
    return [f"data.path={folder.path}/columns.csv", "data.layout=columns"]


@pytest.mark.parametrize("no", [-1, ""])
def test_a_file_whose_no_is_read_as_unknown_is_found(folder, no):
    yes_and_no = [(1, 1)] * 5 + [(no, no)] * 3
    report, code = validate(folder, *columns_file(folder, yes_and_no))
    kinds = ["nothing_to_learn", "label_on_all_train_images", "nothing_to_choose_by", "label_on_all_images"]
    assert [kind for kind in found(report) if kind != "mostly_unknown"] == kinds
    details = {finding["kind"]: finding["entries"][0]["detail"] for finding in report["findings"]}
    detail = details["label_on_all_train_images"]
    assert detail == "'cat': present in 3 train images, known to be absent in none, unknown in 1"
    assert "data.answers={-1: absent}" in report["findings"][1]["advice"]
    assert code == 1
    way_out = "data.answers={-1: absent}" if no == -1 else "data.blank=absent"
    assert found(validate(folder, *columns_file(folder, yes_and_no), way_out)[0]) == {}


def test_one_column_that_never_says_no_is_found_among_good_ones(folder):
    report, _ = validate(folder, *columns_file(folder, [(1, 1)] * 5 + [(0, -1)] * 3))
    assert list(found(report)) == ["label_on_all_train_images", "label_on_all_images"]
    assert [len(entries) for entries in found(report).values()] == [1, 2]


def test_codes_in_which_minus_1_says_no_are_found(folder):
    rows = [(1, -1), (-1, 1), (0, -1), (1, 0), (1, 1), (-1, -1), (-1, -1), (-1, -1)]
    report, _ = validate(folder, *columns_file(folder, rows))
    assert "mostly_unknown" in found(report)
    details = {finding["kind"]: finding["entries"][0]["detail"] for finding in report["findings"]}
    assert details["mostly_unknown"] == "5 unknown, 2 present, 1 absent train answers"


@pytest.mark.parametrize("other", ["Cat", "c at", "CAT ", "c_a-t"])
def test_labels_that_differ_only_in_case_or_spacing_are_found_with_their_first_lines(folder, other):
    folder.label(f"cat;{other}")
    folder.label("cat", [2])
    report, _ = validate(folder)
    assert list(found(report)) == ["similar_labels"]
    [lines] = found(report)["similar_labels"]
    assert sorted(lines) == [f"{folder.path}/list.csv line 2", f"{folder.path}/list.csv line 3"]
    assert f"{other.strip()!r} (4 images)" in report["findings"][0]["entries"][0]["detail"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["2.png", "test", "cat"], "line 7: {folder}/2.png, as in {folder}/list.csv line 2"),
        (["3.png", "tset", "cat"], "line 7: 'tset'"),
        (["../7.png", "val", "cat"], "line 7: ../7.png"),
        (["7.png", "val", "owl"], "line 7: 'owl'"),
    ],
)
def test_what_the_reader_refuses_is_one_finding_with_its_line(folder, row, words):
    draw(7).save(folder.path / "7.png")
    folder.append(*row)
    report, code = validate(folder)
    assert [kind for kind in found(report) if kind != "table_doubts"] == ["table"]
    [entry] = report["findings"][0]["entries"]
    assert words.format(folder=folder.path) in entry["detail"]
    assert code == 1
    assert "rows that cannot be used" in (folder.path / "report/report.html").read_text()


def test_a_split_that_the_reader_refuses_does_not_hide_the_faults_of_the_others(folder):
    folder.label("owl", [5])
    folder.image(3).unlink()
    report, _ = validate(folder)
    assert [kind for kind in found(report) if kind != "table_doubts"] == ["table", "missing"]
    assert [split["split"] for split in report["splits"]] == ["train", "test"]


def test_a_data_set_without_a_test_split_has_no_findings(folder):
    del folder.rows[6]
    report, code = validate(folder)
    assert (found(report), code) == ({}, 0)


def test_strict_and_ignore_decide_about_warnings(folder):
    folder.replace(draw(3).convert("L"))
    assert validate(folder)[1] == 0
    assert validate(folder, "strict=true")[1] == 1
    report, code = validate(folder, "strict=true", "ignore=[not_rgb]")
    assert (found(report), code) == ({}, 0)


def test_the_report_counts_splits_labels_and_pairs_of_labels(folder):
    for line, labels in zip(folder.rows, ("cat;dog", "cat", "", "cat;dog", "dog"), strict=True):
        folder.label(labels, [line])
    report, _ = validate(folder)
    train, val, test = report["splits"]
    assert (train["num_images"], train["num_readable"], train["num_without_label"]) == (4, 4, 2)
    assert train["labels_an_image"] == 0.75
    assert (val["num_labels"], test["num_labels"]) == (2, 1)
    assert report["labels"] == [
        {"label": "cat", "train": 2, "val": 1, "test": 0},
        {"label": "dog", "train": 1, "val": 1, "test": 1},
    ]
    assert report["labels_an_image"] == {"train": [2, 1, 1], "val": [1, 0, 1], "test": [1, 1]}
    assert report["co_occurrence"] == {"labels": ["cat", "dog"], "counts": [[3, 2], [2, 3]]}
    assert report["images"]["formats"] == {"PNG": 8}


def test_file_names_that_are_no_text_are_reported(folder):
    folder.rows[3][0] = "\udce9<b>.png"  # as a Latin-1 name reads
    with (folder.path / "list.csv").open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([["image", "split", "labels"], *folder.rows.values()])
    facts = inspect_image(str(folder.image(3)))
    assert facts.status == "missing"


def test_the_page_shows_names_as_text(folder):
    folder.rows[3][0] = "<b>no.png"
    validate(folder)
    page = (folder.path / "report/report.html").read_text()
    assert "&lt;b&gt;no.png" in page
    assert "<b>no" not in page


def test_the_page_loads_nothing_from_elsewhere(folder):
    copy(folder, "test")
    validate(folder)
    page = (folder.path / "report/report.html").read_text()
    assert "http" not in page
    assert "<script" not in page


def test_processes_give_the_same_facts_in_the_same_order(folder):
    images = [str(folder.path / f"{number}.png") for number in range(40)]
    alone = list(inspect_images(images))
    assert [facts.status for facts in alone].count("ok") == len(SPLITS)
    assert list(inspect_images(images, num_workers=2)) == alone


def test_the_script_takes_strict_as_a_flag(folder, call_script):
    folder.replace(draw(3).convert("L"))
    command = ["scripts/validate_data.py", f"data.path={folder.write()}", 'data.separator=";"']
    command += [f"out={folder.path}/report", "num_workers=2"]
    lenient, strict = call_script(*command), call_script(*command, "--strict")
    assert (lenient.returncode, strict.returncode) == (0, 1), lenient.stderr + strict.stderr
    assert f"warning       1  images that are not RGB\n  {folder.path}/list.csv line 3: " in strict.stdout
    assert "no problems, 1 warning\nwritten to" in strict.stdout
    assert strict.stderr == ""


def test_a_wrong_kind_to_ignore_is_an_error_that_lists_the_kinds(folder, call_script):
    result = call_script("scripts/validate_data.py", f"data.path={folder.write()}", "ignore=[grey]")
    assert result.returncode == 1
    assert "ignore=grey: choose from table, missing" in result.stderr


def test_help_explains_every_setting():
    text = (REPO / "conf/hydra/help/validate_data.yaml").read_text()
    assert [key for key in compose_config("validate_data", []) if f" {key} " not in text and key != "data"] == []


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_in_another_size_or_quality_keeps_its_hash_and_another_picture_has_another(seed):
    picture, file = draw(seed, (200, 150)), io.BytesIO()
    picture.resize((80, 60), Image.Resampling.BICUBIC).save(file, "JPEG", quality=50)
    pictures = (picture, Image.open(file), draw(seed + 100), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    own, again, other, mirrored = map(perceptual_hashes, pictures)
    assert (own["perceptual_hash"] ^ again["perceptual_hash"]).bit_count() <= 4
    assert (own["perceptual_hash"] ^ other["perceptual_hash"]).bit_count() > 12
    assert (own["perceptual_hash"] ^ mirrored["perceptual_hash"]).bit_count() > 12
    assert (own["mirrored_hash"] ^ mirrored["perceptual_hash"]).bit_count() <= 1


@pytest.mark.parametrize("max_distance", [0, 3, 8])
def test_close_pairs_are_those_of_comparing_each_with_each(max_distance):
    rng = np.random.RandomState(0)
    hashes = rng.randint(0, 2**63, 30, np.uint64)[rng.randint(0, 30, 300)]
    for _ in range(2):
        hashes ^= np.uint64(1) << rng.randint(0, 64, 300).astype(np.uint64)
    first, second = np.triu_indices(300, 1)
    close = count_ones(hashes[first] ^ hashes[second]) <= max_distance
    expected = set(zip(first[close].tolist(), second[close].tolist(), strict=True))
    pairs = [
        pair for part in close_pairs(hashes, max_distance) for pair in zip(*map(np.ndarray.tolist, part), strict=True)
    ]
    assert {tuple(sorted(pair)) for pair in pairs} == expected
    assert expected


def test_pictures_that_resemble_each_other_in_a_chain_are_one_cluster(folder):
    pictures = [draw(1), draw(1), draw(2), Image.new("RGB", (64, 64)), Image.new("RGB", (64, 64)), draw(1).convert("L")]
    for number, picture in enumerate(pictures):
        picture.save(folder.path / f"{number}.png")
    facts = [inspect_image(str(folder.path / f"{number}.png")) for number in range(len(pictures))]
    for clusters in near_clusters(facts, 8, 0.95):  # without and with mirrored ones
        assert [rows.tolist() for rows in members(clusters)] == [[0, 1, 5], [3, 4]]
    assert [clusters.tolist() for clusters in near_clusters([], 8, 0.95)] == [[], []]


def test_the_search_ends_where_all_pictures_look_alike():
    rng = np.random.RandomState(0)
    small = rng.randint(0, 256, (2, 256)).astype(np.uint8)
    hashes = [sum(1 << int(bit) for bit in rng.choice(64, 2, replace=False)) for _ in range(150)]
    for num_alike, noise in ((150, 0), (0, 256)):
        looks = [small[0] if k < num_alike else rng.randint(0, noise, 256).astype(np.uint8) for k in range(150)]
        facts = [
            ImageFacts(
                "ok", pixel_hash=k.to_bytes(2), perceptual_hash=one, mirrored_hash=one ^ 2**60, small=look.tobytes()
            )
            for k, (one, look) in enumerate(zip(hashes, looks, strict=True))
        ]
        _, clusters = near_clusters(facts, 4, 0.95)
        assert len(set(clusters.tolist())) == (1 if num_alike else 150)


@pytest.mark.parametrize("setting", ["max_distance=100", "max_distance=-1", "max_distance=many", "min_similarity=2"])
def test_a_search_without_sense_is_refused(folder, setting):
    with pytest.raises(InputError, match="expected a "):
        validate(folder, setting)


def test_mirrored_pictures_are_one_cluster_only_where_mirrored_ones_count(folder):
    flipped = draw(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for number, picture in enumerate([draw(1), flipped, draw(2), flipped.convert("L"), draw(1).convert("L")]):
        picture.save(folder.path / f"{number}.png")
    facts = [inspect_image(str(folder.path / f"{number}.png")) for number in range(5)]
    unmirrored, both = near_clusters(facts, 8, 0.95)
    assert [rows.tolist() for rows in members(unmirrored)] == [[0, 4], [1, 3]]
    assert [rows.tolist() for rows in members(both)] == [[0, 1, 3, 4]]


def test_what_a_reader_warns_of_is_found(tmp_path):
    for number, name in enumerate(("a", "b", "c", "d")):
        draw(number).save(tmp_path / f"{name}.png")
    rows = ["a.png,1,1,train", "b.png,0,0,train", "c.png,1,0,val", "d.png,0,1,val"]
    (tmp_path / "list.csv").write_text("\n".join(["image,cat,fold,split", *rows]) + "\n")
    script = load_script("scripts/validate_data")
    cfg = compose_config("validate_data", ["data=csv", f"data.path={tmp_path}/list.csv", "data.layout=columns"])
    _, errors, warnings = script.read_splits(cfg, create_reader(cfg.data))
    assert errors == []
    assert len(warnings) == 1
    assert "taken for labels, also the column 'fold'" in warnings[0]
