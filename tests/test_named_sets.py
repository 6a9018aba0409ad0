"""The files of well-known data sets become the answers that their makers meant; rows are as each set has them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from source_settings import settings_of

from multihot.errors import InputError
from multihot.known_classes import create


def settings(name: str, **changes) -> dict:
    return settings_of(name) | {"val_fraction": 0} | changes


def read(name: str, split: str = "train", **changes):
    return create("data", settings(name, **changes), _convert_="all")(split)


def error_of(name: str, split: str = "train", **changes) -> str:
    with pytest.raises(InputError) as error:
        read(name, split, **changes)
    return str(error.value)


def answers(manifest) -> dict[str, list[float]]:
    """Returns the answers of each image by its name."""
    names = [Path(image).name for image in manifest.images]
    return dict(zip(names, manifest.dense_targets().tolist(), strict=True))


def write(folder: Path, name: str, text: str) -> str:
    """Writes a file and returns its path."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def draw(folder: Path, *names: str) -> None:
    """Writes images."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(folder / name, format="PNG")


CELEBA = """3
5_o_Clock_Shadow Arched_Eyebrows Attractive
000001.jpg -1  1  1
000002.jpg -1 -1 -1
000003.jpg  1 -1  1
"""


def test_celeba_takes_its_minus_one_for_absent_and_its_split_from_the_partition(tmp_path):
    draw(tmp_path, "000001.jpg", "000002.jpg", "000003.jpg")
    path = write(tmp_path, "list_attr_celeba.txt", CELEBA)
    lists = write(tmp_path, "list_eval_partition.txt", "000001.jpg 0\n000002.jpg 0\n000003.jpg 2\n")
    manifest = read("celeba", path=path, split_lists=lists)
    assert manifest.labels == ("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive")
    assert answers(manifest) == {"000001.jpg": [0, 1, 1], "000002.jpg": [0, 0, 0]}
    assert answers(read("celeba", "test", path=path, split_lists=lists)) == {"000003.jpg": [1, 0, 1]}


def test_celeba_is_read_from_the_csv_files_too(tmp_path):
    draw(tmp_path, "000001.jpg", "000002.jpg")
    path = write(tmp_path, "list_attr_celeba.csv", "image_id,Bald,Smiling\n000001.jpg,-1,1\n000002.jpg,1,-1\n")
    lists = write(tmp_path, "list_eval_partition.csv", "image_id,partition\n000001.jpg,0\n000002.jpg,1\n")
    files = {"path": path, "split_lists": lists}
    assert 'data.delimiter=","' in error_of("celeba", **files)
    assert answers(read("celeba", **files, delimiter=",")) == {"000001.jpg": [0, 1]}
    assert answers(read("celeba", "val", **files, delimiter=",")) == {"000002.jpg": [1, 0]}


def test_a_celeba_file_that_is_cut_short_is_an_error(tmp_path):
    path = write(tmp_path, "list_attr_celeba.txt", CELEBA.replace("3\n", "202599\n", 1))
    assert error_of("celeba", path=path) == f"{path} says that it lists 202599 images, and lists 3: restore it"


CHEST = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143,
00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,
00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143,
"""  # noqa: E501


def test_chestxray14_takes_no_finding_for_none_and_the_split_from_its_lists(tmp_path):
    draw(
        tmp_path, *(f"images_00{k}/images/0000000{k}_000.png" for k in (1, 2, 3)), "images_001/images/00000001_001.png"
    )
    path = write(tmp_path, "Data_Entry_2017.csv", CHEST)
    train = write(tmp_path, "train_val_list.txt", "00000001_000.png\n00000001_001.png\n00000002_000.png\n")
    lists = {"train": train, "test": write(tmp_path, "test_list.txt", "00000003_000.png")}
    manifest = read("chestxray14", path=path, split_lists=lists)
    assert manifest.labels == ("Cardiomegaly", "Emphysema")
    assert answers(manifest) == {"00000001_000.png": [1, 0], "00000001_001.png": [1, 1], "00000002_000.png": [0, 0]}
    assert manifest.clusters.tolist() == [0, 0, 1]  # patients
    test = read("chestxray14", "test", path=path, split_lists=lists, labels=["Hernia", "Cardiomegaly", "Emphysema"])
    assert answers(test) == {"00000003_000.png": [1, 0, 0]}


FINDINGS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)


def mimic(folder: Path) -> dict[str, str]:
    rows = [
        "02aa804e,50414267,10000032,train",
        "174413ec,50414267,10000032,train",
        "2a2277a9,53189527,10000032,validate",
    ]
    rows += ["68b5c4b1,53911762,10000764,test", "fffabebf,99999999,19999999,train"]
    path = write(folder, "mimic-cxr-2.0.0-split.csv", "\n".join(["dicom_id,study_id,subject_id,split", *rows]))
    labels = [f"subject_id,study_id,{FINDINGS}", "10000032,50414267,,1.0,,-1.0,,,,0.0,,,,,,"]
    labels += ["10000032,53189527,,,,,,,,,1.0,,,,,", "10000764,53911762,1.0,,,,,,,,,,,,,"]
    for row in rows:
        image, study, patient, _ = row.split(",")
        draw(folder, f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg")
    return {"path": path, "join_path": write(folder, "mimic-cxr-2.0.0-chexpert.csv", "\n".join(labels))}


def test_mimic_cxr_finds_the_labels_of_a_study_and_makes_the_path_of_each_image(tmp_path, caplog):
    files = mimic(tmp_path)
    manifest = read("mimic_cxr", **files)
    assert manifest.labels == tuple(FINDINGS.split(","))
    expected = [0, 1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]  # nothing: not mentioned; -1.0: uncertain
    assert answers(manifest) == {"02aa804e.jpg": expected, "174413ec.jpg": expected}
    assert manifest.images[0] == f"{tmp_path}/files/p10/p10000032/s50414267/02aa804e.jpg"
    assert answers(read("mimic_cxr", "val", **files))["2a2277a9.jpg"][8] == 1  # validate
    assert list(answers(read("mimic_cxr", "test", **files))) == ["68b5c4b1.jpg"]
    assert f"left out 1 row that have none in {files['join_path']}" in caplog.text
    unknown = answers(read("mimic_cxr", **files, blank="unknown", answers={-1: "present"}))["02aa804e.jpg"]
    assert unknown == [-1, 1, -1, 1, -1, -1, -1, 0, -1, -1, -1, -1, -1, -1]


def test_mimic_cxr_is_scored_by_what_radiologists_say(tmp_path):
    header = FINDINGS.replace("Lung Opacity", "Airspace Opacity")
    path = write(tmp_path, "mimic-cxr-2.1.0-test-set-labeled.csv", f"study_id,{header}\n53911762,,,,,,,,1.0,,,,,,\n")
    changes = {"join_columns": ["study_id"], "rename_columns": {"Airspace Opacity": "Lung Opacity"}}
    manifest = read("mimic_cxr", "test", **mimic(tmp_path) | changes | {"join_path": path})
    assert answers(manifest) == {"68b5c4b1.jpg": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]}


def test_a_row_without_labels_is_an_error_where_none_may_be_left_out(tmp_path):
    message = error_of("mimic_cxr", **mimic(tmp_path), join_missing="error")
    assert "rows that have none in data.join_path (data.join_missing=skip leaves them out)" in message
    assert "line 6: subject_id '19999999', study_id '99999999'" in message


PADCHEST = """,ImageID,ImageDir,StudyDate_DICOM,PatientID,Projection,MethodLabel,Labels,Localizations
0,2048_m4.png,0,20140915,8390,PA,RNN_model,"['pulmonary fibrosis', ' chronic changes', '']","['loc basal']"
1,1360_q1.png,0,20140731,1349,PA,RNN_model,['normal'],[]
2,2841_v2.png,1,20130301,1349,L,Physician,"['pleural effusion', 'pulmonary fibrosis']",[]
3,9172_e6.png,1,20120417,7001,PA,Physician,['exclude'],[]
4,8804_n0.png,1,20120417,7002,PA,Physician,,[]
5,8805_n1.png,1,20120417,7003,PA,Physician,[],[]
"""


def test_padchest_reads_lists_takes_normal_for_none_and_leaves_out_what_has_no_label(tmp_path, caplog):
    draw(tmp_path, "0/2048_m4.png", "0/1360_q1.png", "1/2841_v2.png")
    manifest = read("padchest", path=write(tmp_path, "padchest.csv", PADCHEST))
    assert manifest.labels == ("chronic changes", "pleural effusion", "pulmonary fibrosis")
    assert answers(manifest) == {"2048_m4.png": [1, 0, 1], "1360_q1.png": [0, 0, 0], "2841_v2.png": [0, 1, 1]}
    assert manifest.images[2] == f"{tmp_path}/1/2841_v2.png"
    assert manifest.clusters.tolist() == [0, 1, 1]
    assert "left out 1 row by data.skip_labels (exclude)" in caplog.text
    assert "left out 2 rows that have no label (data.untagged=skip)" in caplog.text


def test_vindr_cxr_takes_what_most_of_three_readers_say(tmp_path):
    labels = settings_of("vindr_cxr")["label_columns"]
    places = {"Cardiomegaly": labels.index("Cardiomegaly"), "Other diseases": labels.index("Other diseases")}

    def row(*cells: str, present=()) -> str:
        return ",".join([*cells, *(str(int(label in present)) for label in [*labels, "No finding"])])

    rows = [
        row("000434", f"R{k}", present=said) for k, said in ((9, ["Cardiomegaly"]), (10, ["Cardiomegaly"]), (8, []))
    ]
    rows += [row("ffe6f9", f"R{k}", present=["No finding"] if k else ["Other diseases"]) for k in range(3)]
    header = f"{','.join(labels)},No finding"
    path = write(tmp_path, "annotations/image_labels_train.csv", "\n".join([f"image_id,rad_id,{header}", *rows]))
    test_header = f"image_id,{header.replace('Other diseases', 'Other disease')}"
    consensus = row("002a34", present=["Other diseases"])
    test_path = write(tmp_path, "annotations/image_labels_test.csv", f"{test_header}\n{consensus}\n")
    draw(tmp_path, "train/000434.dicom", "train/ffe6f9.dicom", "test/002a34.dicom")
    files = {"path": path, "test_path": test_path, "root": str(tmp_path)}
    found = answers(read("vindr_cxr", **files))
    assert [labels[k] for k in np.flatnonzero(found["000434.dicom"])] == ["Cardiomegaly"]
    assert not any(found["ffe6f9.dicom"])
    assert np.flatnonzero(answers(read("vindr_cxr", "test", **files))["002a34.dicom"]) == [places["Other diseases"]]
    shares = answers(read("vindr_cxr", **files, agree="mean"))
    assert shares["000434.dicom"][places["Cardiomegaly"]] == pytest.approx(2 / 3)


RSNA = ["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any"]


def test_rsna_ich_divides_an_id_into_image_and_label(tmp_path):
    rows = [f"ID_12cadc6af_{label},{int(label in ('subdural', 'any'))}" for label in RSNA]
    rows += [f"ID_38fd7baa0_{label},0" for label in RSNA] + ["ID_38fd7baa0_any,0"]  # it has equal rows
    draw(tmp_path, "ID_12cadc6af.dcm", "ID_38fd7baa0.dcm")
    manifest = read("rsna_ich", path=write(tmp_path, "stage_2_train.csv", "\n".join(["ID,Label", *rows])))
    assert manifest.labels == tuple(sorted(RSNA))
    assert answers(manifest) == {"ID_12cadc6af.dcm": [1, 0, 0, 0, 0, 1], "ID_38fd7baa0.dcm": [0] * 6}
    broken = write(tmp_path, "broken.csv", "ID,Label\nID_12cadc6af_any,1\nTrain-12,0\n")
    assert "cells of 'ID' that are not as data.cell_parts says:\n  " in error_of("rsna_ich", path=broken)


def test_planet_completes_ids_with_their_ending(tmp_path):
    draw(tmp_path, "train_0.jpg", "train_1.jpg")
    path = write(tmp_path, "train_v2.csv", "image_name,tags\ntrain_0,haze primary\ntrain_1,agriculture clear primary\n")
    manifest = read("planet", path=path)
    assert manifest.labels == ("agriculture", "clear", "haze", "primary")
    assert answers(manifest) == {"train_0.jpg": [0, 0, 1, 1], "train_1.jpg": [1, 1, 0, 1]}


ISIC = "image,MEL,NV,UNK\nISIC_0000000,0.0,1.0,0.0\nISIC_0000001_downsampled,1.0,0.0,0.0\nISIC_0000002,0.0,1.0,0.0\n"


def test_isic_keeps_the_images_of_a_lesion_together(tmp_path):
    draw(tmp_path, "ISIC_0000000.jpg", "ISIC_0000001_downsampled.jpg", "ISIC_0000002.jpg")
    path = write(tmp_path, "ISIC_2019_Training_GroundTruth.csv", ISIC)
    expected = {"ISIC_0000000.jpg": [0, 1, 0], "ISIC_0000001_downsampled.jpg": [1, 0, 0], "ISIC_0000002.jpg": [0, 1, 0]}
    assert answers(read("isic", path=path)) == expected
    lesions = (
        "image,age_approx,lesion_id,sex\nISIC_0000000,55,BCN_7,f\nISIC_0000001_downsampled,30,,m\nISIC_0000002,,BCN_7,f"
    )
    join_path = write(tmp_path, "ISIC_2019_Training_Metadata.csv", lesions)
    manifest = read("isic", path=path, join_path=join_path, cluster_column="lesion_id")
    assert answers(manifest) == expected
    assert manifest.labels == ("MEL", "NV", "UNK")  # the columns of the other file are none
    assert manifest.clusters.tolist() == [0, 1, 0]


def nus_wide(folder: Path) -> str:
    images = ["actor\\0001_21.jpg", "actor\\0002_17.jpg", "zoo\\0003_9.jpg"]
    write(folder, "NUS-WIDE/ImageList/Imagelist.txt", "\r\n".join(images))
    write(folder, "NUS-WIDE/ImageList/TrainImagelist.txt", f"{images[2]} \n{images[0]}\n")
    write(folder, "NUS-WIDE/ImageList/TestImagelist.txt", images[1])
    write(folder, "NUS-WIDE/Groundtruth/AllLabels/Labels_sky.txt", "1\n1\n0\n")
    write(folder, "NUS-WIDE/Groundtruth/AllLabels/Labels_animal.txt", "0\n1\n0\n")
    draw(
        folder,
        "NUS-WIDE/Flickr/actor/0001_21.jpg",
        "NUS-WIDE/Flickr/actor/0002_17.jpg",
        "NUS-WIDE/Flickr/zoo/0003_9.jpg",
    )
    return str(folder / "NUS-WIDE")


def test_nuswide_reads_the_folder_of_its_lists(tmp_path):
    path, both = nus_wide(tmp_path), ["animal", "sky"]
    manifest = read("nuswide", path=path, labels=both)
    assert manifest.images[0] == f"{path}/Flickr/actor/0001_21.jpg"
    assert answers(manifest) == {"0001_21.jpg": [0, 1], "0003_9.jpg": [0, 0]}  # no concept: it stays
    assert answers(read("nuswide", "test", path=path, root=f"{path}/Flickr", labels=both)) == {"0002_17.jpg": [1, 1]}


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("Groundtruth/AllLabels/Labels_sky.txt", "1\n1\n", "must have a line 0 or 1 for each of the 3 images"),
        ("Groundtruth/AllLabels/Labels_sky.txt", "1\n1\nx\n", "must have a line 0 or 1 for each of the 3 images"),
        ("ImageList/TestImagelist.txt", "none.jpg\n", "splits other than train, val, test"),
    ],
)
def test_damaged_lists_of_nuswide_are_errors(tmp_path, file, text, words):
    path = nus_wide(tmp_path)
    write(Path(path), file, text)
    assert words in error_of("nuswide", path=path, labels=["animal", "sky"])


def test_the_tags_of_users_are_not_taken_for_the_truth_of_nuswide(tmp_path):
    path = write(tmp_path, "NUS_WID_Tags/Train_Tags81.txt", "0 1 0\n")
    assert "tags of users and not the truth" in error_of("nuswide", path=path)
    assert "tags of users and not the truth" in error_of("nuswide", path=str(tmp_path / "NUS_WID_Tags"))
    write(tmp_path, "ImageList/Imagelist.txt", "a\\b.jpg\n")
    write(tmp_path, "ImageList/TrainImagelist.txt", "a\\b.jpg\n")
    write(tmp_path, "ImageList/TestImagelist.txt", "")
    assert "unpack Groundtruth.zip there; what NUS_WID_Tags holds are tags" in error_of("nuswide", path=str(tmp_path))


def test_val_in_the_csv_file_of_nuswide_is_the_test_split(tmp_path):
    rows = ["0001.jpg,\"['clouds', 'sky']\",train", "0002.jpg,['sky'],val"]
    path = write(
        tmp_path, "nus_wid_data.csv", "\n".join(["filepath,label,split_name", *(f"images/{row}" for row in rows)])
    )
    draw(tmp_path, "images/0001.jpg", "images/0002.jpg")
    assert answers(read("nuswide", path=path)) == {"0001.jpg": [1, 1]}
    assert answers(read("nuswide", "test", path=path, labels=["clouds", "sky"])) == {"0002.jpg": [0, 1]}


def vg500(folder: Path, images: object) -> dict:
    draw(folder, "VG_100K/1.jpg", "VG_100K/2.jpg", "VG_100K_2/3.jpg")
    lists = {"train": write(folder, "train_list_500.txt", "1.jpg\n2.jpg\n")}
    lists["test"] = write(folder, "test_list_500.txt", "3.jpg\n")
    return {"path": write(folder, "vg.json", json.dumps(images)), "split_lists": lists}


def test_vg500_reads_numbers_of_labels_and_their_names(tmp_path):
    files = vg500(tmp_path, {"1.jpg": [10, 2], "2.jpg": [], "3.jpg": [2]})
    manifest = read("vg500", **files)
    assert manifest.labels == ("2", "10")
    assert answers(manifest) == {"1.jpg": [1, 1], "2.jpg": [0, 0]}
    names_path = write(tmp_path, "names.txt", "\n".join(f"thing {k}" for k in range(11)))
    assert read("vg500", **files, names_path=names_path).labels == ("thing 10", "thing 2")
    short = write(tmp_path, "short.txt", "sky\ntree\n")
    assert "'1.jpg' has the label 10" in error_of("vg500", **files, names_path=short)


@pytest.mark.parametrize("images", [{}, [], {"1.jpg": 3}, {"images": [], "annotations": {}}])
def test_another_file_is_not_taken_for_that_of_vg500(tmp_path, images):
    assert "must hold one JSON object of images and lists" in error_of("vg500", **vg500(tmp_path, images))


def pa100k(folder: Path, **changes) -> str:
    def cells(*texts: str) -> np.ndarray:
        column = np.empty((len(texts), 1), object)
        column[:, 0] = [np.array([text]) for text in texts]
        return column

    content = {
        "attributes": cells("Female", "AgeOver60", "Hat"),
        "train_images_name": cells("000001.jpg", "000002.jpg"),
    }
    content |= {"val_images_name": cells("080001.jpg"), "test_images_name": cells("090001.jpg")}
    content |= {"train_label": np.array([[1, 0, 1], [0, 0, 0]], np.uint8), "val_label": np.array([[0, 1, 0]], np.uint8)}
    savemat(folder / "annotation.mat", content | {"test_label": np.array([[1, 1, 0]], np.uint8)} | changes)
    draw(folder, "000001.jpg", "000002.jpg", "080001.jpg", "090001.jpg")
    return str(folder / "annotation.mat")


def test_pa100k_reads_its_matlab_file(tmp_path):
    path = pa100k(tmp_path)
    manifest = read("pa100k", path=path)
    assert manifest.labels == ("Female", "AgeOver60", "Hat")
    assert answers(manifest) == {"000001.jpg": [1, 0, 1], "000002.jpg": [0, 0, 0]}
    assert answers(read("pa100k", "val", path=path)) == {"080001.jpg": [0, 1, 0]}
    assert answers(read("pa100k", "test", path=path)) == {"090001.jpg": [1, 1, 0]}


def test_a_matlab_file_that_is_damaged_or_another_is_an_error(tmp_path):
    assert "train_label must have 0 or 1 for 2 images" in error_of(
        "pa100k", path=pa100k(tmp_path, train_label=[[1, 0]])
    )
    assert "train_label must have 0 or 1" in error_of("pa100k", path=pa100k(tmp_path, train_label=np.full((2, 3), 2)))
    assert "has no texts attributes" in error_of("pa100k", path=pa100k(tmp_path, attributes=np.eye(3)))
    whole = Path(pa100k(tmp_path)).read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / "cut.mat").write_bytes(whole[:size])
        assert error_of("pa100k", path=str(tmp_path / "cut.mat"))
    assert "cannot read" in error_of("pa100k", path=str(tmp_path / "none.mat"))
