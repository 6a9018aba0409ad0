"""Reads Labelbox's exports of images, a JSON object each.

Format: https://docs.labelbox.com/reference/export-image-annotations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multihot.data.readers.json_lines import read_objects
from multihot.data.table.cells import CellError, is_blank, quote
from multihot.data.table.exports import ExportReader, Item
from multihot.data.table.label_values import check_list, read_label
from multihot.data.table.table import Table
from multihot.errors import InputError, name_first

IMAGE_KEYS = ("external_id", "global_key", "row_data")
SHAPE = "rows without the data_row, projects and annotations of an image (give the NDJSON that project.export writes)"
PERHAPS_SKIPPED = "labels without an answer, which may be skipped ones (export again with performance_details)"
SAME_NAME = "answers of two questions by the same name (choose one of them by data.questions)"

Answers = list[tuple[str | None, str]]  # question and answer; an outlined object has no question


@dataclass(kw_only=True)
class LabelboxReader(ExportReader):
    """An object an image, with the answers of each annotator; those chosen in checklists and radios are labels.

    Who has skipped an image has not answered it; who has submitted it without an answer says none of the labels.

    Args:
        image_key: of a data row, what names the image: external_id, global_key or row_data.
        project: the name or the id of the one to read; None: there must be one.
        questions: the checklists and radios to read; None: all.
        objects: what is outlined is left out ("ignore"), or a label that its image has ("present").
    """

    image_key: str
    project: str | None
    questions: Sequence[str] | None
    objects: str

    def read(self, file: str, table: Table) -> Iterator[Item]:
        """Yields the images of one file."""
        projects, asked, question_of = {}, set(), {}
        for number, item in read_objects(file):
            try:
                image, labels = self.find_image(item["data_row"]), self.choose_labels(item["projects"], projects)
                given = [read_answers(label) for label in labels if not is_skipped(label)]
                readings = [self.choose_answers(answers, question_of) for answers in given]
            except CellError as error:
                table.note(error.problem, number, error.details)
            except (KeyError, TypeError, AttributeError):
                table.note(SHAPE, number, quote(item))
            else:
                asked.update(question for answers in given for question, _ in answers)
                yield Item(number, image, readings)
        self.check(file, projects, asked)

    def find_image(self, row: Mapping) -> str:
        """Returns the image of a data row; raises CellError if it has no such key."""
        image = row.get(self.image_key)
        if is_blank(image):
            others = ", ".join(key for key in IMAGE_KEYS if not is_blank(row.get(key)))
            raise CellError(f"images without {self.image_key} (choose another data.image_key)", f"there is {others}")
        return image

    def choose_labels(self, projects: Mapping[str, Mapping], names: dict[str, str]) -> list[Mapping]:
        """Returns the labels of the project that is read, and adds the names of all projects, by id."""
        names.update((number, project.get("name", number)) for number, project in projects.items())
        chosen = [number for number in projects if self.project in (None, number, names[number])]
        return [label for number in chosen for label in projects[number]["labels"]]

    def choose_answers(self, answers: Answers, question_of: dict[str, str | None]) -> dict[str, float]:
        """Returns the reading that answers make; raises CellError if another question has one by the same name.

        Args:
            question_of: that of each answer so far; more are added.
        """
        reading = {}
        for question, answer in answers:
            if question is None and self.objects == "ignore":
                continue
            if question is not None and self.questions is not None and question not in self.questions:
                continue
            if question_of.setdefault(answer, question) != question:
                raise CellError(SAME_NAME, f"{answer!r} of {question!r} and of {question_of[answer]!r}")
            reading[answer] = 1.0
        return reading

    def check(self, file: str, projects: Mapping[str, str], asked: set[str | None]) -> None:
        """Raises InputError unless a file has one project, and answers of all questions that are chosen.

        Args:
            projects: their names by id.
            asked: all questions that have an answer.
        """
        described = name_first([f"{name!r} ({number})" for number, name in projects.items()])
        if self.project is None and len(projects) > 1:
            raise InputError(f"{file} has {len(projects)} projects, {described}: choose one by data.project")
        if self.project is not None and self.project not in {*projects, *projects.values()}:
            raise InputError(f"{file} has no project {self.project!r} (data.project), but {described or 'none'}")
        questions = name_first(sorted(repr(question) for question in asked if question is not None))
        missing = [question for question in self.questions or () if question not in asked]
        if missing:
            raise InputError(
                f"{file} has no answer of {name_first(list(map(repr, missing)))} (data.questions), but of "
                f"{questions or 'nothing'}"
            )
        if asked == {None} and self.objects == "ignore":
            raise InputError(f"{file} has outlined objects alone: set data.objects=present to make their names labels")


def is_skipped(label: Mapping) -> bool:
    """Returns whether an annotator has skipped the image; raises CellError if nothing tells."""
    told, annotations = (label.get("performance_details") or {}).get("skipped"), label["annotations"]
    if told is None and not (annotations["classifications"] or annotations.get("objects")):
        raise CellError(PERHAPS_SKIPPED, quote(label))
    if not isinstance(told, bool | None):
        raise TypeError(told)
    return bool(told)


def read_answers(label: Mapping) -> Answers:
    """Returns what one annotator has answered; raises CellError for a name that is no text."""
    annotations = label["annotations"]
    objects = [(None, read_label(item["name"])) for item in check_list(annotations.get("objects", []))]
    return [*list_answers(annotations["classifications"]), *objects]


def list_answers(questions: Sequence[Mapping]) -> Answers:
    """Returns the chosen answers of checklists and radios, also of those below an answer."""
    answers = []
    for question in check_list(questions):
        radio = question.get("radio_answer")
        for answer in check_list(question.get("checklist_answers", [radio] if radio else [])):
            answers.append((read_label(question["name"]), read_label(answer["name"])))
            answers += list_answers(answer.get("classifications", []))
    return answers
