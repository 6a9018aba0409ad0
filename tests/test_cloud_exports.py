"""Labels from SageMaker Ground Truth, Vertex AI, Azure ML, Roboflow and Labelbox are those of their own files.

Rows are as these docs and packages have them: docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html,
cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data, azureml-automl-dnn-vision 1.62.0.post1
(AmlDatasetHelper.write_dataset_file_line), roboflow 1.7.3 (folderparser reads its `_classes.csv`), and
docs.labelbox.com/reference/export-image-annotations.
"""

import json

import pytest
from omegaconf import OmegaConf
from test_columns import settings_of

from multihot.data import create_reader
from multihot.errors import InputError


def read(source: str, path, split: str = "train", **settings):
    reader = create_reader(OmegaConf.create({**settings_of(source), "path": str(path), **settings}))
    return reader(split, must_exist=False)


def answers(manifest) -> dict[str, list[float]]:
    """Returns the targets of each image by its name."""
    names = [str(image).rsplit("/", 1)[-1] for image in manifest.images]
    return dict(zip(names, manifest.dense_targets().tolist(), strict=True))


def write_lines(folder, *rows: object, name: str = "export.jsonl"):
    (folder / name).write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return folder / name


def error_of(*arguments, **settings) -> str:
    with pytest.raises(InputError) as error:
        read(*arguments, **settings)
    return str(error.value)


MULTI = "groundtruth/image-classification-multilabel"


def truth(image: str, names: dict[int, str] | None, confidence: float = 0.9, job: str = "pets", **about) -> dict:
    """Returns a line of Ground Truth; names None: the job failed."""
    row = {"source-ref": f"s3://bucket/{image}"}
    if names is None:
        return row | {f"{job}-metadata": {"failure-reason": "no annotations", "job-name": f"labeling-job/{job}"}}
    about = {
        "class-map": {str(k): name for k, name in names.items()},
        "confidence-map": dict.fromkeys(map(str, names), confidence),
        "human-annotated": "yes",
        "creation-date": "2020-02-27T21:36:25.000201",
        "type": MULTI,
    } | about
    return row | {job: list(names), f"{job}-metadata": about}


LOCAL = {"replace_prefix": {"s3://bucket/": "photos/"}}


def test_ids_of_ground_truth_are_named_by_the_map_of_their_own_line(tmp_path):
    path = write_lines(tmp_path, truth("a.jpg", {1: "bicycle", 0: "person"}), truth("b.jpg", {0: "car"}))
    manifest = read("ground_truth", path, **LOCAL)
    assert manifest.labels == ("bicycle", "car", "person")
    assert answers(manifest) == {"a.jpg": [1, 0, 1], "b.jpg": [0, 1, 0]}
    assert str(manifest.images[0]) == str(tmp_path / "photos/a.jpg")


def test_a_failed_image_of_ground_truth_is_unknown_and_an_empty_list_none(tmp_path):
    path = write_lines(tmp_path, truth("a.jpg", None), truth("b.jpg", {}), truth("c.jpg", {0: "cat"}))
    assert answers(read("ground_truth", path, **LOCAL)) == {"b.jpg": [0], "c.jpg": [1]}
    assert answers(read("ground_truth", path, **LOCAL, untagged="unknown"))["a.jpg"] == [-1]


def test_confidences_of_ground_truth_are_no_answers(tmp_path):
    path = write_lines(tmp_path, truth("a.jpg", {0: "cat"}, 0.0), truth("b.jpg", {1: "dog"}, 0.0))
    assert answers(read("ground_truth", path, **LOCAL)) == {"a.jpg": [1, 0], "b.jpg": [0, 1]}
    assert "2 images whose confidences are all 0, as those of one" in error_of(
        "ground_truth", path, **LOCAL, min_confidence=0.5
    )


def test_labels_of_little_confidence_can_be_unknown(tmp_path):
    row = truth("a.jpg", {1: "bicycle", 0: "person", 8: "clothing"})
    row["pets-metadata"]["confidence-map"] = {"1": 0.95, "0": 0.77, "8": 0.2}  # of the docs
    path = write_lines(tmp_path, row)
    assert answers(read("ground_truth", path, **LOCAL, min_confidence=0.77)) == {"a.jpg": [1, -1, 1]}
    del row["pets-metadata"]["confidence-map"]["8"]
    path = write_lines(tmp_path, row)
    assert "labels without a confidence" in error_of("ground_truth", path, **LOCAL, min_confidence=0.77)


def test_one_of_several_jobs_of_ground_truth_is_chosen(tmp_path):
    both = truth("a.jpg", {0: "cat"}) | truth("a.jpg", {0: "night"}, job="light")
    path = write_lines(tmp_path, truth("b.jpg", None), both)
    assert "line 2: there are several image classification jobs, pets, light: choose one by data.job" in error_of(
        "ground_truth", path, **LOCAL
    )
    assert "has no line with metadata called Pets-metadata" in error_of("ground_truth", path, **LOCAL, job="Pets")
    assert answers(read("ground_truth", path, **LOCAL, job="light")) == {"a.jpg": [1]}


def test_a_job_for_one_label_an_image_is_read_too(tmp_path):
    about = {"class-name": "football", "confidence": 0.0, "type": "groundtruth/image-classification"}
    row = {"source-ref": "s3://bucket/a.jpg", "sport": 0, "sport-metadata": about}  # of the docs
    assert read("ground_truth", write_lines(tmp_path, row), **LOCAL).labels == ("football",)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (truth("a.jpg", {0: "cat"}) | {"pets": [0, 3]}, "answers without metadata that name their labels"),
        (truth("a.jpg", {0: "cat"}) | {"pets": ["cat"]}, "answers without metadata that name their labels"),
        (truth("a.jpg", {0: "cat"}) | {"pets": 0}, "answers without metadata that name their labels"),
        (truth("a.jpg", {0: " "}), "labels that are no text, or empty"),
        (truth("a.jpg", {0: "cat"}) | {"source-ref": None}, "rows without an image"),
        (truth("a.jpg", {0: "cat"}, type="groundtruth/object-detection"), "has no line with metadata of the type"),
        ({"source-ref": "s3://bucket/a.jpg"}, "has no line with metadata of the type"),
    ],
)
def test_what_ground_truth_does_not_write_is_refused(tmp_path, row, problem):
    assert problem in error_of("ground_truth", write_lines(tmp_path, row), **LOCAL)


def vertex(image: str, *labels: str, use: str | None = None) -> dict:
    """Returns an object of Vertex AI."""
    annotations = [{"displayName": name} for name in labels]
    row = {"imageGcsUri": f"gs://bucket/{image}", "classificationAnnotations": annotations}
    return row if use is None else row | {"dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": use}}


GOOGLE = {"replace_prefix": {"gs://bucket/": "photos/"}}
IMAGES = (
    ("a.jpg", ("cat", "traffic light"), "training"),
    ("b.jpg", (), "training"),
    ("c.jpg", ("None_of_the_above",), "unassigned"),
    ("d.jpg", ("cat",), "validation"),
    ("e.jpg", ("cat",), "test"),
)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_both_files_of_vertex_say_the_same(tmp_path, kind):
    csv = [",".join([use, f"gs://bucket/{image}", *labels]) for image, labels, use in IMAGES]
    rows = csv if kind == "csv" else [vertex(image, *labels, use=use) for image, labels, use in IMAGES]
    path = write_lines(tmp_path, *rows)
    manifest = read("vertex", path, **GOOGLE)
    assert manifest.labels == ("cat", "traffic light")
    assert answers(manifest) == {"a.jpg": [1, 1], "c.jpg": [0, 0]}
    assert answers(read("vertex", path, **GOOGLE, untagged="unknown"))["b.jpg"] == [-1, -1]
    assert answers(read("vertex", path, **GOOGLE, split="val")) == {"d.jpg": [1, 0]}
    assert answers(read("vertex", path, **GOOGLE, split="test")) == {"e.jpg": [1, 0]}


def test_csv_of_vertex_may_lack_the_use_and_end_in_commas(tmp_path):
    path = write_lines(tmp_path, "gs://bucket/test,cat,dog", "gs://bucket/b.jpg,dog,,", "c.jpg", name="data.csv")
    assert answers(read("vertex", path, **GOOGLE, untagged="unknown")) == {
        "test": [1, 1],
        "b.jpg": [0, 1],
        "c.jpg": [-1, -1],
    }


def test_one_label_an_image_of_vertex_is_read_too(tmp_path):
    row = {"imageGcsUri": "gs://bucket/a.jpg", "classificationAnnotation": {"displayName": "daisy"}}
    assert read("vertex", write_lines(tmp_path, row), **GOOGLE).labels == ("daisy",)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("TEST_SET,gs://bucket/a.jpg,cat", "uses other than training"),
        ("TRAINING,gs://bucket/a.jpg,cat,0.1,0.1,,,0.3,0.3,,", "images with boxes instead of labels"),
        ({"imageGcsUri": "a.jpg", "boundingBoxAnnotations": []}, "images with boxes instead of labels"),
        ({"imageGcsUri": "a.jpg", "classificationAnnotations": ["cat"]}, "annotations that are no list of objects"),
        ({"imageGcsUri": "a.jpg", "classificationAnnotations": ""}, "annotations that are no list of objects"),
        (vertex("a.jpg", ""), "labels that are no text, or empty"),
        (vertex("a.jpg", "cat", use=3), "uses other than training"),
        ({"classificationAnnotations": [{"displayName": "cat"}]}, "rows without an image"),
    ],
)
def test_what_vertex_does_not_write_is_refused(tmp_path, row, problem):
    assert problem in error_of("vertex", write_lines(tmp_path, row), **GOOGLE)


MICROSOFT = {"replace_prefix": {"AmlDatastore://": ""}}


def azure(image: str, label: object) -> dict:
    """Returns an object of Azure ML."""
    return {"image_url": f"AmlDatastore://photos/{image}", "label_confidence": [1.0], "label": label}


def test_labels_of_azure_ml_are_never_divided(tmp_path):
    rows = azure("a.jpg", ["cat", "traffic light"]), azure("b.jpg", []), azure("c.jpg", "traffic light")
    manifest = read("azure_ml", write_lines(tmp_path, *rows), **MICROSOFT)
    assert manifest.labels == ("cat", "traffic light")
    assert answers(manifest) == {"a.jpg": [1, 1], "b.jpg": [0, 0], "c.jpg": [0, 1]}
    assert str(manifest.images[0]) == str(tmp_path / "photos/a.jpg")


BOX = {"label": "can", "topX": 0.2, "topY": 0.4, "bottomX": 0.5, "bottomY": 0.8, "isCrowd": 0}


@pytest.mark.parametrize(
    ("label", "problem"), [(None, "rows whose labels are null or missing"), ([BOX], "labels with an answer beside")]
)
def test_images_of_azure_ml_without_labels_and_with_boxes_are_refused(tmp_path, label, problem):
    path = write_lines(tmp_path, azure("a.jpg", ["cat"]), azure("b.jpg", label))
    assert problem in error_of("azure_ml", path, **MICROSOFT)


@pytest.mark.parametrize("comma", [",", ", "])
def test_each_folder_of_roboflow_is_a_split(tmp_path, comma):
    rows = {
        "train": ["filename,cat,split", "a_jpg.rf.1.jpg,1,1", "b_jpg.rf.2.jpg,0,0"],
        "valid": ["filename,cat,split", "c_jpg.rf.3.jpg,0,1"],
    }
    for folder, lines in rows.items():
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder, *(line.replace(",", comma) for line in lines), name="_classes.csv")
    files = {"path": tmp_path / "train/_classes.csv", "val_path": f"{tmp_path}/valid/_classes.csv"}
    manifest = read("roboflow", **files)
    assert manifest.labels == ("cat", "split")
    assert answers(manifest) == {"a_jpg.rf.1.jpg": [1, 1], "b_jpg.rf.2.jpg": [0, 0]}
    assert str(read("roboflow", split="val", **files).images[0]) == str(tmp_path / "valid/c_jpg.rf.3.jpg")


def checklist(*names: str, question: str = "Animals") -> dict:
    """Returns an answered checklist of Labelbox."""
    answers = [{"feature_id": "f", "name": name, "value": name.lower(), "classifications": []} for name in names]
    return {"feature_id": "q", "name": question, "value": question.lower(), "checklist_answers": answers}


def person(*questions: dict, skipped: object = False, objects: tuple[str, ...] = ()) -> dict:
    """Returns what one annotator of Labelbox has answered."""
    outlined = [{"name": name, "annotation_kind": "ImageBoundingBox", "classifications": []} for name in objects]
    annotations = {"objects": outlined, "classifications": list(questions), "relationships": []}
    about = {} if skipped is None else {"performance_details": {"seconds_to_create": 3, "skipped": skipped}}
    return {"label_kind": "Default", "id": "l", "annotations": annotations, **about}


def labelbox(image: str, *labels: dict, project: str = "p1", name: str = "Pets") -> dict:
    """Returns an object of Labelbox."""
    row = {"id": "d", "external_id": image, "row_data": f"https://host/{image}?key=1"}
    return {"data_row": row, "media_attributes": {}, "projects": {project: {"name": name, "labels": list(labels)}}}


def test_each_label_of_labelbox_is_a_reading(tmp_path):
    rows = (
        labelbox("a.jpg", person(checklist("cat", "dog")), person(checklist("cat"))),
        labelbox("b.jpg", person(), person()),
        labelbox("c.jpg", person(skipped=True)),
        labelbox("d.jpg"),
        {"data_row": {"external_id": "e.jpg"}, "projects": {}},
    )
    path = write_lines(tmp_path, *rows)
    assert "answers that contradict another" in error_of("labelbox", path)
    manifest = read("labelbox", path, agree="mean")
    assert manifest.labels == ("cat", "dog")
    assert answers(manifest) == {"a.jpg": [1, 0.5], "b.jpg": [0, 0]}
    unknown = answers(read("labelbox", path, agree="majority", untagged="unknown"))
    assert unknown == {"a.jpg": [1, -1], "b.jpg": [0, 0], **{f"{k}.jpg": [-1, -1] for k in "cde"}}
    assert read("labelbox", write_lines(tmp_path, json.dumps(rows)), agree="mean").labels == ("cat", "dog")


def test_radios_and_questions_below_answers_of_labelbox_are_read(tmp_path):
    below = checklist("cat")
    below["checklist_answers"][0]["classifications"] = [checklist("sleepy", question="Mood")]
    radio = {"name": "Light", "value": "light", "radio_answer": {"name": "night", "value": "night"}}
    text = {"name": "Remark", "value": "remark", "text_answer": {"content": "cute"}}
    path = write_lines(tmp_path, labelbox("a.jpg", person(below, radio, text)))
    assert read("labelbox", path).labels == ("cat", "night", "sleepy")
    assert read("labelbox", path, questions=["Animals", "Mood"]).labels == ("cat", "sleepy")
    assert "no answer of 'animals' (data.questions), but of 'Animals', 'Light', 'Mood'" in error_of(
        "labelbox", path, questions=["animals"]
    )


def test_answers_of_labelbox_by_one_name_belong_to_one_question(tmp_path):
    rows = (labelbox("a.jpg", person(checklist("yes"))), labelbox("b.jpg", person(checklist("yes", question="Tame"))))
    path = write_lines(tmp_path, *rows)
    assert "line 2: 'yes' of 'Tame' and of 'Animals'" in error_of("labelbox", path)
    assert answers(read("labelbox", path, questions=["Tame"])) == {"a.jpg": [0], "b.jpg": [1]}


def test_a_project_of_labelbox_is_chosen(tmp_path):
    row = labelbox("a.jpg", person(checklist("cat")))
    row["projects"]["p2"] = {"name": "Light", "labels": [person(checklist("night", question="Light"))]}
    path = write_lines(tmp_path, row)
    assert "has 2 projects, 'Pets' (p1), 'Light' (p2): choose one by data.project" in error_of("labelbox", path)
    assert read("labelbox", path, project="Light").labels == ("night",)
    assert read("labelbox", path, project="p1").labels == ("cat",)
    assert "has no project 'light'" in error_of("labelbox", path, project="light")


def test_outlined_objects_of_labelbox_are_labels_if_that_is_said(tmp_path):
    path = write_lines(tmp_path, labelbox("a.jpg", person(objects=("cat", "cat"))), labelbox("b.jpg", person()))
    assert "has outlined objects alone: set data.objects=present" in error_of("labelbox", path)
    assert answers(read("labelbox", path, objects="present")) == {"a.jpg": [1], "b.jpg": [0]}


def test_skipped_labels_of_labelbox_must_be_told_from_empty_ones(tmp_path):
    told = labelbox("a.jpg", person(checklist("cat"), skipped=None))
    assert read("labelbox", write_lines(tmp_path, told)).labels == ("cat",)
    path = write_lines(tmp_path, told, labelbox("b.jpg", person(skipped=None)))
    assert "labels without an answer, which may be skipped ones" in error_of("labelbox", path)


def test_images_of_labelbox_can_be_named_by_their_address(tmp_path):
    path = write_lines(tmp_path, labelbox("a b.jpg", person(checklist("cat"))))
    settings = {"image_key": "row_data", "replace_prefix": {"https://host/": "photos/"}}
    assert str(read("labelbox", path, **settings).images[0]) == str(tmp_path / "photos/a b.jpg")
    assert "images without global_key (choose another data.image_key)" in error_of(
        "labelbox", path, image_key="global_key"
    )


@pytest.mark.parametrize(
    "row",
    [
        {"ID": "l", "Labeled Data": "https://host/a.jpg", "Label": {"classifications": []}, "External ID": "a.jpg"},
        {"data_row": {"external_id": "a.jpg"}, "projects": []},
        labelbox("a.jpg", {"annotations": {"frames": {}}, "performance_details": {}}),
        labelbox("a.jpg", person({"checklist_answers": [{"name": "cat"}]})),
        labelbox("a.jpg", person({"name": "Animals", "checklist_answers": "cat"})),
        labelbox("a.jpg", person({"name": "Animals", "checklist_answers": {}})),
        labelbox("a.jpg", person(skipped="no")),
    ],
)
def test_what_labelbox_does_not_write_is_refused(tmp_path, row):
    assert "rows without the data_row, projects and annotations" in error_of("labelbox", write_lines(tmp_path, row))
