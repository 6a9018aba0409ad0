"""Small exports as the tools and the makers of named sets write them: images a to d.jpg; a cat, b both, c none, d open.

What each tool writes was seen in its own package: label-studio-sdk 2.1.2, cvat 2.80.0, datumaro 1.13.12, fiftyone
1.22.1, darwin-py 3.6.3, supervisely 6.74.51, labelme 6.3.1; the rest in the documents of the services.
"""

import csv
import io
import json
from pathlib import Path

from PIL import Image

IMAGES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
LABELS = ("cat", "dog")
TRUTH = {"a.jpg": ["cat"], "b.jpg": ["cat", "dog"], "c.jpg": [], "d.jpg": None}  # None: nobody has answered

NOT_TOLD = {"annotator": None, "annotation_id": None}
CSV_OF_LABEL_STUDIO = """\
image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time
/data/upload/1/0a1b2c3d-d.jpg,4,,,,,,
/data/upload/1/0a1b2c3d-c.jpg,3,,1,3,2026-11-28T09:00:03Z,2026-11-28T09:00:03Z,1.5
/data/upload/1/0a1b2c3d-b.jpg,2,"{""choices"":[""cat"",""dog""]}",1,2,2026-11-28T09:00:02Z,2026-11-28T09:00:02Z,2.5
/data/upload/1/0a1b2c3d-a.jpg,1,cat,1,1,2026-11-28T09:00:01Z,2026-11-28T09:00:01Z,3.5
"""
CVAT_LABEL = "<label><name>{}</name><color>#ff0000</color><type>tag</type><attributes></attributes></label>"
CVAT_META = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <{0}>\n'
    "      <id>1</id>\n      <name>animals</name>\n      <labels>{1}</labels>\n    </{0}>\n  </meta>\n"
)


def write_pictures(folder: Path, names=IMAGES) -> None:
    """Draws the pictures, each in a colour of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (40 * number, 0, 90)).save(folder / name)


def write(path: Path, content: object) -> Path:
    """Writes text as it is, a list as JSON lines, and an object as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(item) + "\n" for item in content)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    return path


def label_studio_csv(folder: Path) -> Path:
    return write(folder / "project-1.csv", CSV_OF_LABEL_STUDIO)


def label_studio_json_min(folder: Path) -> Path:
    tasks = []
    for number, (image, labels) in enumerate(TRUTH.items(), start=1):
        task = {"image": f"/data/upload/1/0a1b2c3d-{image}", "id": number}
        if labels:
            task["choice"] = labels[0] if len(labels) == 1 else {"choices": labels}
        told = {"annotator": 1, "annotation_id": number} if labels is not None else NOT_TOLD
        tasks.append(task | told | {"created_at": "2026-11-28T09:00:01Z", "updated_at": "2026-11-28T09:00:01Z"})
    return write(folder / "project-1.json", json.dumps(tasks))


def label_studio_json(folder: Path) -> Path:
    tasks = []
    for number, (image, labels) in enumerate(TRUTH.items(), start=1):
        choice = {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": labels}}
        done = {"id": number, "completed_by": 1, "was_cancelled": False, "result": [choice] if labels else []}
        tasks.append({
            "id": number, "annotations": [done] if labels is not None else [], "drafts": [], "predictions": [],
            "data": {"image": f"/data/upload/1/0a1b2c3d-{image}"}, "meta": {}, "inner_id": number, "project": 1,
        })  # fmt: skip
    return write(folder / "project-1.json", json.dumps(tasks))


def cvat_xml(folder: Path, kind: str = "task") -> Path:
    text = CVAT_META.format(kind, "".join(map(CVAT_LABEL.format, LABELS)))
    for number, (image, labels) in enumerate(TRUTH.items()):
        tags = "".join(f'<tag label="{label}" source="manual"></tag>' for label in labels or ())
        text += f'  <image id="{number}" name="{image}" width="8" height="8">{tags}</image>\n'
    return write(folder / "annotations.xml", text + "</annotations>\n")


def cvat_xml_of_project(folder: Path) -> Path:
    return cvat_xml(folder, "project")


def cvat_coco(folder: Path) -> Path:
    images = [{"id": k, "width": 8, "height": 8, "file_name": name, "license": 0} for k, name in enumerate(IMAGES, 1)]
    categories = [{"id": k, "name": label, "supercategory": ""} for k, label in enumerate(LABELS, 1)]
    content = {"licenses": [], "info": {}, "categories": categories, "images": images, "annotations": []}
    return write(folder / "annotations" / "instances_default.json", json.dumps(content))


def cvat_voc(folder: Path) -> Path:
    write(folder / "ImageSets" / "Main" / "default.txt", "a\nb\nc\nd\n")
    write(folder / "labelmap.txt", "# label:color_rgb:parts:actions\ncat:128,0,0::\ndog:0,128,0::\n")
    for name in IMAGES:
        write(folder / "Annotations" / f"{name[0]}.xml", f"<annotation><filename>{name}</filename></annotation>")
    write_pictures(folder / "JPEGImages")
    return folder


def cvat_yolo(folder: Path) -> Path:
    write(folder / "data.yaml", "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n")
    write(folder / "train.txt", "".join(f"data/images/train/{name}\n" for name in IMAGES))
    write_pictures(folder / "images" / "train")
    for name in IMAGES:
        write(folder / "labels" / "train" / f"{name[0]}.txt", "")
    return folder


def cvat_imagenet(folder: Path) -> Path:
    write(folder / "synsets.txt", "cat\ndog\n")
    write_pictures(folder / "cat", ["a.jpg"])
    write_pictures(folder / "cat_dog", ["b.jpg"])
    write_pictures(folder / "no_label", ["c.jpg", "d.jpg"])
    return folder


def datumaro(folder: Path) -> Path:
    items = [
        {"id": image[0], "annotations": [
            {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": LABELS.index(label)}
            for label in labels or ()], "attr": {}, "image": {"path": image, "size": [8, 8]}}
        for image, labels in TRUTH.items()
    ]  # fmt: skip
    categories = {"label": {"labels": [{"name": label, "parent": "", "attributes": []} for label in LABELS]}}
    content = {"dm_format_version": "1.0", "media_type": 2, "infos": {}, "categories": categories, "items": items}
    return write(folder / "annotations" / "default.json", json.dumps(content))


def roboflow(folder: Path) -> Path:
    path = write(folder / "train" / "_classes.csv", "filename,cat,dog\na.jpg,1,0\nb.jpg,1,1\nc.jpg,0,0\n")
    write(folder / "valid" / "_classes.csv", "filename,cat,dog\nd.jpg,0,1\n")
    return path


def roboflow_of_old(folder: Path) -> Path:
    return write(folder / "train" / "_classes.csv", "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 1, 1\nc.jpg, 0, 0\n")


def ground_truth(folder: Path) -> Path:
    meta = {
        "job-name": "labeling-job/animals",
        "human-annotated": "yes",
        "type": "groundtruth/image-classification-multilabel",
    }
    lines = []
    for image, labels in TRUTH.items():
        line = {"source-ref": f"s3://bucket/{image}"}
        if labels is None:
            line["animals-metadata"] = {**meta, "failure-reason": "ClientError: no image"}
        else:
            ids = [LABELS.index(label) for label in labels]
            maps = {"class-map": dict(zip(map(str, ids), labels, strict=True)),
                    "confidence-map": {str(number): 0.0 for number in ids}}  # fmt: skip
            line |= {"animals": ids, "animals-metadata": {**maps, **meta}}
        lines.append(line)
    return write(folder / "output.manifest", lines)


def vertex_csv(folder: Path) -> Path:
    return write(
        folder / "import.csv", "training,gs://b/a.jpg,cat\nvalidation,gs://b/b.jpg,cat,dog\ntest,gs://b/d.jpg\n"
    )


def vertex_jsonl(folder: Path) -> Path:
    return write(folder / "data.jsonl", [
        {"imageGcsUri": f"gs://bucket/{image}",
         "classificationAnnotations": [{"displayName": label} for label in labels or ()],
         "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": "training"}}
        for image, labels in TRUTH.items()
    ])  # fmt: skip


def azure_ml(folder: Path) -> Path:
    return write(folder / "labels.jsonl", [
        {"image_url": f"AmlDatastore://images/{image}", "label": labels,
         "label_confidence": [1.0] * len(labels), "image_details": {"format": "jpg", "width": "8px", "height": "8px"}}
        for image, labels in TRUTH.items() if labels is not None
    ])  # fmt: skip


def fiftyone(folder: Path) -> Path:
    labels = {image[0]: labels or None for image, labels in TRUTH.items()}
    write_pictures(folder / "data")
    return write(folder / "labels.json", json.dumps({"classes": list(LABELS), "labels": labels}))


def fiftyone_tree(folder: Path) -> Path:
    write_pictures(folder / "cat", ["a.jpg"])
    write_pictures(folder / "dog", ["b.jpg"])
    write_pictures(folder / "_unlabeled", ["c.jpg", "d.jpg"])
    return folder


def v7(folder: Path) -> Path:
    for image, labels in TRUTH.items():
        item = {"name": image, "path": "/", "slots": [{"slot_name": "0", "width": 8, "height": 8}]}
        tags = [{"id": f"{image}{label}", "name": label, "tag": {}, "properties": []} for label in labels or ()]
        write(folder / f"{image[0]}.json", {"version": "2.0", "item": item, "annotations": tags})
    return folder


def v7_coco(folder: Path) -> Path:
    images = [
        {"id": k, "file_name": image, "width": 8, "height": 8, "tag_ids": [7 + LABELS.index(x) for x in labels or ()]}
        for k, (image, labels) in enumerate(TRUTH.items(), 1)
    ]
    tags = [{"id": k, "name": label} for k, label in enumerate(LABELS, 7)]
    box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0}
    content = {"info": {}, "licenses": [], "categories": [{"id": 3, "name": "nose"}], "images": images}
    return write(folder / "coco.json", json.dumps({**content, "annotations": [box], "tag_categories": tags}))


def labelbox(folder: Path) -> Path:
    rows = []
    for image, labels in TRUTH.items():
        answers = [{"name": label, "value": label} for label in labels or ()]
        answer = {"classifications": [{"name": "animals", "value": "animals", "checklist_answers": answers}]}
        done = [{"id": "x", "label_kind": "Default", "annotations": {"objects": [], **answer, "relationships": []}}]
        data_row = {"id": "ck", "external_id": image, "row_data": f"https://storage.invalid/{image}"}
        labelled = [] if labels is None else done
        rows.append(
            {"data_row": data_row, "media_attributes": {}, "projects": {"p1": {"name": "x", "labels": labelled}}}
        )
    return write(folder / "export.ndjson", rows)


def supervisely(folder: Path) -> Path:
    classes = [{"name": label, "value_type": "none", "color": "#FF0000"} for label in LABELS]
    write(folder / "meta.json", {"classes": [], "tags": classes, "projectType": "images"})
    for image, labels in TRUTH.items():
        tags = [{"name": label, "value": None, "labelerLogin": "x"} for label in labels or ()]
        write(
            folder / "ds0" / "ann" / f"{image}.json", {"size": {"height": 8, "width": 8}, "tags": tags, "objects": []}
        )
    write_pictures(folder / "ds0" / "img")
    return folder


def via_json(folder: Path) -> Path:
    files = {
        f"{image}1000": {"filename": image, "size": 1000, "regions": [],
                         "file_attributes": {"animals": dict.fromkeys(labels or (), True)}}
        for image, labels in TRUTH.items()
    }  # fmt: skip
    return write(folder / "via_project_json.json", json.dumps(files))


def via_csv(folder: Path) -> Path:
    of_regions = ("region_count", "region_id", "region_shape_attributes", "region_attributes")
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["filename", "file_size", "file_attributes", *of_regions])
    for image, labels in TRUTH.items():
        attributes = json.dumps({"animals": dict.fromkeys(labels or (), True)})
        rows.writerow([image, 1000, attributes, 0, 0, "{}", "{}"])
    return write(folder / "via_project_csv.csv", text.getvalue())


def labelme(folder: Path) -> Path:
    for image, labels in TRUTH.items():
        flags = {label: label in (labels or ()) for label in LABELS}
        content = {"version": "6.3.1", "flags": flags, "shapes": [], "imagePath": image, "imageData": None}
        write(folder / f"{image[0]}.json", {**content, "imageHeight": 8, "imageWidth": 8})
    write_pictures(folder)
    return folder


def sidecar(folder: Path) -> Path:
    inside = folder / "10_animals"
    write_pictures(inside)
    for image, labels in TRUTH.items():
        if labels is not None:
            write(inside / f"{image[0]}.txt", ", ".join(labels))
    return folder


def celeba(folder: Path) -> Path:
    """The attributes as the CSV that is passed on (img_align_celeba's list_attr_celeba.csv)."""
    return write(
        folder / "list_attr_celeba.csv",
        "image_id,5_o_Clock_Shadow,Bald,Smiling\n000001.jpg,-1,1,1\n000002.jpg,1,-1,-1\n000003.jpg,-1,-1,-1\n",
    )


def celeba_of_old(folder: Path) -> Path:
    """The attributes as they are published: the number of images, the names, then columns of blanks."""
    text = "3\n5_o_Clock_Shadow Bald Smiling \n000001.jpg -1  1  1\n000002.jpg  1 -1 -1\n000003.jpg -1 -1 -1\n"
    return write(folder / "list_attr_celeba.txt", text)


def chestxray14(folder: Path) -> Path:
    return write(
        folder / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "00000001_000.png,Cardiomegaly|Effusion,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
        "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,\n",
    )


def mimic_cxr(folder: Path) -> Path:
    return write(
        folder / "mimic-cxr-2.0.0-chexpert.csv",
        "subject_id,study_id,Atelectasis,Edema,No Finding\n10000032,50414267,,,1.0\n10000764,57375967,-1.0,0.0,\n",
    )


def padchest(folder: Path) -> Path:
    return write(
        folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,StudyID,PatientID,Projection,MethodLabel,Report,Labels,LabelsLocalizationsBySentence\n"
        "0,1_x.png,0,1,839860488694292331637988235681460987,PA,Physician,aumento,"
        "\"['pulmonary fibrosis', 'pleural effusion']\",\"[]\"\n"
        '1,2_x.png,0,2,313572750430997347502932654319389875,PA,Physician,sin,"[\'normal\']","[]"\n',
    )


def vindr_cxr(folder: Path) -> Path:
    return write(
        folder / "image_labels_train.csv",
        "image_id,rad_id,Aortic enlargement,Atelectasis,No finding\na,R9,1,0,0\na,R10,1,1,0\na,R8,0,0,1\n",
    )


def vindr_cxr_boxes(folder: Path) -> Path:
    return write(
        folder / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "a,No finding,14,R11,,,,\na,No finding,14,R7,,,,\nb,Cardiomegaly,3,R10,691,1375,1653,1831\n",
    )


def rsna_ich(folder: Path) -> Path:
    kinds = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
    rows = "".join(f"ID_12cadc6af_{kind},{int(kind in ('subdural', 'any'))}\n" for kind in kinds)
    return write(folder / "stage_2_train.csv", "ID,Label\n" + rows)


def planet(folder: Path) -> Path:
    return write(folder / "train_v2.csv", "image_name,tags\ntrain_0,haze primary\ntrain_1,clear primary water\n")


def isic(folder: Path) -> Path:
    return write(
        folder / "ISIC_2019_Training_GroundTruth.csv",
        "image,MEL,NV,BCC,UNK\nISIC_0000000,0.0,1.0,0.0,0.0\nISIC_0000002,1.0,0.0,0.0,0.0\n",
    )


def nuswide(folder: Path) -> Path:
    return write(
        folder / "nus_wid_data.csv",
        "filepath,label,split_name\nimages/1.jpg,\"['clouds', 'sky']\",train\nimages/2.jpg,\"['sky']\",val\n",
    )


def vg500(folder: Path) -> Path:
    write(folder / "train_list_500.txt", "1.jpg\n2.jpg\n")
    return write(folder / "vg_category_500_labels_index.json", json.dumps({"1.jpg": [0, 4, 7], "2.jpg": [3]}))


def nuswide_folder(folder: Path) -> Path:
    write(folder / "ImageList" / "Imagelist.txt", "actor\\0001_1.jpg\n")
    write(folder / "Groundtruth" / "AllLabels" / "Labels_sky.txt", "1\n")
    write_pictures(folder / "Flickr" / "actor", ["0001_1.jpg"])
    return folder


def pa100k(folder: Path) -> Path:
    from scipy.io import savemat

    savemat(folder / "annotation.mat", {"train_label": [[0, 1], [1, 1]], "attributes": ["Female", "Hat"]})
    return folder / "annotation.mat"
