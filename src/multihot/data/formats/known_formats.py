"""What each tool and each well-known data set writes, by what it is known, and which `data=` reads it."""

import re
from collections.abc import Collection
from dataclasses import dataclass

UNANSWERED = "an image that nobody has answered would have none of the labels"
FAILED = "the numbers of labels would be their names, and an image that failed would have none of them"
JSON = r"\s*[\[{]"
ONE_LABEL = "all attributes of a file would be one label"


@dataclass(frozen=True)
class Format:
    """What a tool writes, by what it is known, and what reads it.

    Args:
        what: whose it is.
        data: which `data=` reads it.
        columns: of a CSV file, or keys of a JSON one, inner ones behind dots; each set is enough.
        pattern: what the begin of the text must fit.
        name: what the name of the file must fit.
        misread: what readers of plain columns would make of it; "": they read it right, or refuse it.
        module: of its reader, where that is not called as `data`.
    """

    what: str
    data: str
    columns: tuple[Collection[str], ...] = ()
    pattern: str = ""
    name: str = ""
    misread: str = ""
    module: str = ""

    def fits(self, name: str, text: str, found: Collection[str]) -> bool:
        """Returns whether a file called so begins so, in which these columns or keys were found."""
        if not (re.fullmatch(self.name or ".*", name, re.DOTALL) and re.match(self.pattern, text)):
            return False
        return not self.columns or any(set(columns) <= set(found) for columns in self.columns)


FORMATS = (
    Format(
        "an export of Label Studio (CSV or JSON_MIN)", "label_studio", misread=UNANSWERED,
        columns=({"annotator", "annotation_id"}, {"annotation_id", "lead_time"}, {"annotation_id", "updated_at"}),
    ),
    Format(
        "an export of Label Studio (JSON)", "label_studio",
        columns=({"annotations.result"}, {"annotations.completed_by"}, {"annotations", "drafts", "data"}),
    ),
    Format(
        "CVAT's XML for images", "cvat",
        pattern=r"\s*(<\?xml[^>]*>\s*)?<annotations>[\s\S]*?<(version|meta|image)\b",
    ),
    Format("datumaro's JSON", "datumaro", columns=({"dm_format_version"}, {"categories.label", "items.annotations"})),
    Format("an export of Roboflow", "roboflow", columns=({"filename"},), name=r"_classes\.csv"),
    Format(
        "a manifest of SageMaker Ground Truth", "ground_truth", misread=FAILED,
        columns=({"source-ref", "*-metadata"}, {"source", "*-metadata"}),
    ),
    Format("Vertex AI's JSONL", "vertex", columns=({"imageGcsUri"},), misread=UNANSWERED),
    Format("Vertex AI's CSV", "vertex", pattern=r'(?i:"?((training|train|validation|test|unassigned)"?,"?)?gs://)'),
    Format(
        "Azure ML's JSONL", "azure_ml", pattern=JSON,
        columns=({"image_url", "label_confidence"}, {"image_url", "image_details"}, {"image_url", "label"}),
    ),
    Format(
        "FiftyOne's labels.json", "fiftyone",
        pattern=r'\s*\{\s*"classes"\s*:\s*(\[("(\\.|[^"\\])*"|[^\]"])*\]|null)\s*,\s*"labels"\s*:',
    ),
    Format("V7's JSON", "v7", columns=({"item.slots"}, {"item.source_info"}, {"item", "annotations.tag"})),
    Format("Labelbox's NDJSON", "labelbox", columns=({"data_row.id", "projects"},)),
    Format(
        "an export of Supervisely", "supervisely",
        columns=({"tags", "objects", "size.height"}, {"classes", "tags", "projectType"}),
    ),
    Format(
        "an export of VIA", "via", misread=ONE_LABEL,
        columns=(
            {"_via_img_metadata"}, {"*.file_attributes", "*.filename"},
            {"filename", "file_attributes", "region_shape_attributes"},
        ),
    ),
    Format("LabelMe's JSON", "labelme", columns=({"flags", "shapes"}, {"imagePath", "flags"})),
    Format(
        "a file of COCO's format", "coco",
        columns=(
            {"images", "annotations", "categories"}, {"images.file_name", "categories.name"},
            {"annotations.image_id", "annotations.category_id"}, {"images.file_name", "info"},
        ),
    ),
    Format(
        "Open Images' labels", "openimages", columns=({"ImageID", "LabelName", "Confidence"},), module="open_images"
    ),
    Format("CheXpert's list", "chexpert", columns=({"Path", "Frontal/Lateral"},)),
    Format("CelebA's attributes", "celeba", pattern=r"\d+\s+5_o_Clock_Shadow"),
    Format("CelebA's attributes as CSV", "celeba", columns=({"5_o_Clock_Shadow"},)),
    Format("the list of ChestX-ray14", "chestxray14", columns=({"Image Index", "Finding Labels"},)),
    Format(
        "the labels of MIMIC-CXR", "mimic_cxr",
        columns=({"subject_id", "study_id", "Atelectasis"}, {"dicom_id", "subject_id", "study_id"}),
    ),
    Format("the list of PadChest", "padchest", columns=({"ImageID", "Labels", "LabelsLocalizationsBySentence"},)),
    Format("the labels of VinDr-CXR", "vindr_cxr", columns=({"image_id", "rad_id"},)),
    Format(
        "the labels of RSNA's intracranial haemorrhages", "rsna_ich",
        pattern=r"ID,Label\s+ID_\w+_(epidural|intraparenchymal|intraventricular|subarachnoid|subdural|any),",
    ),
    Format("the tags of Planet's photos", "planet", pattern=r"image_name,tags\s+(train|test|file)_\d+,"),
    Format("ISIC's ground truth", "isic", columns=({"image", "MEL", "NV"},)),
    Format("the list of NUS-WIDE", "nuswide", columns=({"filepath", "label", "split_name"},), module="nus_wide"),
    Format(
        "the labels of VG-500", "vg500",
        pattern=r'\s*\{\s*"\d+\.jpg"\s*:\s*\[', name=r"vg_category_500\w*\.json", module="json_map",
    ),
    Format("the annotations of PA-100K", "pa100k", pattern="MATLAB 5.0", name=r"annotation\.mat"),
)  # fmt: skip
FOLDERS = {  # by names of folders in them
    ("JPEGImages", "Annotations"): Format("a folder of Pascal VOC", "voc"),
    ("ImageList", "Groundtruth"): Format("the folder of NUS-WIDE", "nuswide", module="nus_wide"),
}
SIDECAR = Format("a folder with a text of tags beside each picture", "sidecar")
