"""Exports of Label Studio. Their text is what label-studio 1.23.2 and label-studio-sdk 2.1.2 have written."""

import json
from pathlib import Path

import pytest
from test_columns import read

from multihot.errors import InputError

# All but the last line of this export are the Converter's own; the last is what an upload called so comes to.
CSV = '''\
"annotation_id","annotator","created_at","id","image","labels","lead_time","updated_at","weather"
11,"a@example.com","2026-11-01T00:00:01Z",1,"/data/upload/1/0123abcd-1.jpg","cat",1.5,"2026-11-01T00:00:00Z",""
12,"a@example.com","2026-11-01T00:00:02Z",2,"/data/upload/1/0123abcd-2.jpg","{""choices"":[""cat"",""ice, bear""]}",\
1.5,"2026-11-01T00:00:00Z","sun"
13,"a@example.com","2026-11-01T00:00:03Z",3,"/data/upload/1/0123abcd-3.jpg","",1.5,"2026-11-01T00:00:00Z",""
"","","",4,"/data/upload/1/0123abcd-4.jpg","","","",""
18,"a@example.com","2026-11-01T00:00:08Z",8,"/data/upload/1/0123abcd-8.jpg","{""choices"":[]}",1.5,"2026-11-01","r"
19,"a@example.com","2026-11-01T00:00:09Z",9,"/data/upload/1/0123abcd-9.jpg","{""choices"":[""cat"",""dog""]}",1.5,"2026-11-01",""
10,"a@example.com","2026-11-01T00:00:00Z",10,"/data/upload/1/0123abcd-%C3%BC_1.jpg","say ""hi""",1.5,"2026-11-01",""
'''
INTERFACE = """\
<View>
  <Image name="image" value="$image"/>
  <Choices name="labels" toName="image" choice="multiple">
    <Choice value="cat"/><Choice value="dog"/><Choice value="ice, bear"/><Choice value='say "hi"'/>
  </Choices>
  <Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain" alias="r"/></Choices>
  <TextArea name="notes" toName="image"/>
</View>
"""


def write(folder: Path, text: str, name: str = "project.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return f"data.path={folder / name}"


def read_export(*overrides: str):
    return read("data.val_fraction=0", *overrides, source="label_studio", must_exist=False)


def answers(manifest) -> dict[str, set[str]]:
    """Returns the labels of each image; None: they are unknown."""
    rows = zip(manifest.images, manifest.dense_targets(), strict=True)
    return {
        Path(image).stem: {
            "?" if value < 0 else label for label, value in zip(manifest.labels, row, strict=True) if value
        }
        for image, row in rows
    }


def test_a_csv_is_read_as_the_tool_means_it(tmp_path):
    manifest = read_export(write(tmp_path, CSV), "data.choices=[labels]", "data.untagged=unknown")
    assert manifest.labels == ("cat", "dog", "ice, bear", 'say "hi"')
    assert answers(manifest) == {
        "1": {"cat"}, "2": {"cat", "ice, bear"}, "3": set(), "4": {"?"}, "8": set(), "9": {"cat", "dog"},
        "ü_1": {'say "hi"'},
    }  # fmt: skip


def test_tabs_divide_the_other_csv(tmp_path):
    rows = [line.replace(",", "\t") for line in CSV.splitlines()[:2]]
    assert answers(read_export(write(tmp_path, "\n".join(rows)), "data.choices=[labels]")) == {"1": {"cat"}}


def test_several_controls_are_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"has 'labels', 'weather' beside .* data.choices=\[...\], or .*interface"):
        read_export(write(tmp_path, CSV))


def test_the_interface_says_labels_and_which_exclude_each_other(tmp_path):
    write(tmp_path, INTERFACE, "interface.xml")
    manifest = read_export(write(tmp_path, CSV), f"data.interface={tmp_path}/interface.xml")
    assert manifest.labels == ("cat", "dog", "ice, bear", 'say "hi"', "sun", "r")
    [group] = manifest.groups
    assert (group.name, group.labels, group.none) == ("weather", ("sun", "r"), True)
    assert answers(manifest)["2"] == {"cat", "ice, bear", "sun"}


def test_labels_may_be_called_after_their_control(tmp_path):
    write(tmp_path, INTERFACE, "interface.xml")
    overrides = [f"data.interface={tmp_path}/interface.xml", "data.prefix_labels=true", "data.choices=[weather]"]
    manifest = read_export(write(tmp_path, CSV), *overrides)
    assert manifest.labels == ("weather: sun", "weather: r")
    assert answers(manifest)["2"] == {"weather: sun"}


def test_one_label_of_two_controls_is_refused(tmp_path):
    export = CSV.replace('"sun"', '"cat"')
    with pytest.raises(
        InputError, match=r"prefix_labels=true\):\n.*line 3: 'weather': 'cat' of 'labels' and 'weather'"
    ):
        read_export(write(tmp_path, export), "data.choices=[labels,weather]")


def test_labels_that_nobody_has_given_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"labels without an annotation_id.*\n.*line 5: 'dog'"):
        read_export(write(tmp_path, CSV.replace('4.jpg",""', '4.jpg","dog"')), "data.choices=[labels]")


def test_a_csv_without_annotation_ids_is_refused(tmp_path):
    with pytest.raises(InputError, match="must have one column 'annotation_id'"):
        read_export(write(tmp_path, "id,image,labels\n1,a.jpg,cat\n"))


def test_a_list_of_names_is_one_nested_choice_or_several_of_regions(tmp_path):
    """As the Converter writes them: findings/label_studio_one_nested_choice.sh."""
    path = write(
        tmp_path,
        '"annotation_id","id","image","what"\n1,1,"1.jpg","[""animal""]"\n2,2,"2.jpg","[""animal"", ""cat""]"\n'
        '3,3,"3.jpg","{""choices"":[[""animal"",""cat""],[""plant"",""rose""]]}"\n',
    )
    interface = """<View><Image name="image" value="$image"/><Choices name="what" toName="image" choice="multiple" {}>
        <Choice value="animal"><Choice value="cat"/></Choice><Choice value="plant"><Choice value="rose"/></Choice>
        </Choices></View>"""
    nested = read_export(
        path, write(tmp_path, interface.format('allowNested="true"'), "i.xml").replace("data.path", "data.interface")
    )
    assert answers(nested) == {"1": {"animal"}, "2": {"animal/cat"}, "3": {"animal/cat", "plant/rose"}}
    regions = read_export(
        path, write(tmp_path, interface.format('perRegion="true"'), "i.xml").replace("data.path", "data.interface")
    )
    assert answers(regions)["2"] == {"animal", "cat"}
    with pytest.raises(InputError, match=r"(?s)one choice below others, or several.*line 3"):
        read_export(path)


def test_two_uploads_of_one_name_are_not_one_image(tmp_path):
    export = write(tmp_path, CSV.replace("0123abcd-2.jpg", "76543210-1.jpg"))
    with pytest.raises(InputError, match=r"uploads of the same name .*stored.*\n.*1\.jpg in the tasks 1 and 2"):
        read_export(export, "data.choices=[labels]")
    manifest = read_export(export, "data.choices=[labels]", "data.uploads=stored")
    assert answers(manifest)["0123abcd-1"] == {"cat"}
    assert answers(manifest)["76543210-1"] == {"cat", "ice, bear"}


def test_an_upload_is_found_by_the_name_that_it_had(tmp_path):
    (tmp_path / "ü (1).jpg").touch()
    assert "ü (1)" in answers(read_export(write(tmp_path, CSV), "data.choices=[labels]"))
    (tmp_path / "ü_1.jpg").touch()
    with pytest.raises(InputError, match=r"may be several files .*\n.*line 8: ü_1\.jpg may be ü \(1\)\.jpg, ü_1\.jpg"):
        read_export(write(tmp_path, CSV), "data.choices=[labels]")


def create_task(number: int, *results: list, **data) -> dict:
    annotations = [{"id": 1, "was_cancelled": False, "result": result} for result in results]
    return {"id": number, "data": {"image": f"{number}.jpg"} | data, "annotations": annotations}


def part(kind: str, value: dict, name: str = "labels") -> dict:
    return {"from_name": name, "to_name": "image", "type": kind, "value": value}


def test_json_says_by_its_types_what_is_a_label(tmp_path):
    tasks = [
        create_task(
            1, [part("taxonomy", {"taxonomy": [["animal", "cat"], ["animal"]]}), part("rating", {"rating": 4})]
        ),
        create_task(2, [part("rectanglelabels", {"x": 1, "y": 2, "rectanglelabels": ["cat"]})] * 2),
        create_task(3, [part("textarea", {"text": ["dog"]})]),
    ]
    manifest = read_export(write(tmp_path, json.dumps(tasks), "a.json"))
    assert answers(manifest) == {"1": {"animal", "animal/cat"}, "2": {"cat"}, "3": set()}


def test_what_was_skipped_and_what_was_drafted_or_predicted_is_no_answer(tmp_path):
    choice = [part("choices", {"choices": ["cat"]})]
    tasks = [create_task(1, choice), create_task(2, choice), create_task(3)]
    tasks[1]["annotations"][0]["was_cancelled"] = True
    tasks[2] |= {"predictions": [{"result": choice}], "drafts": [{"result": choice}]}
    manifest = read_export(write(tmp_path, json.dumps(tasks), "a.json"), "data.untagged=unknown")
    assert answers(manifest) == {"1": {"cat"}, "2": {"?"}, "3": {"?"}}


def test_tasks_may_say_their_split(tmp_path):
    choice = [part("choices", {"choices": ["cat"]})]
    tasks = [create_task(1, choice, split="train"), create_task(2, choice, split="test"), create_task(3, choice)]
    assert answers(read_export(write(tmp_path, json.dumps(tasks), "a.json"))) == {"1": {"cat"}, "3": {"cat"}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"id": 1, "data": {"image": "1.jpg"}}], "task 1: its annotations are None"),
        ([{"image": "1.jpg", "labels": "cat"}], "tasks that are no export"),
        ([{"id": 1, "data": {"image": "1.jpg"}, "annotations": [7, 8]}], "task 1: its annotations are"),
        ([create_task(1, "cat")], "task 1: an annotation holds 'cat'"),
        ([create_task(1, [part("choices", {"choices": [3]})])], "no labels .*\n.*task 1: 'labels': 3"),
        ([create_task(1, [part("choices", {"choices": [" "]})])], "choices without a name"),
        ([create_task(1, [part("choices", {"choices": "cat"})])], "answers that are no labels"),
        ([create_task(1, [part("choices", {"choices": ["cat"]})]) | {"data": {"img": "1"}}], "rows without an image"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused(content, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_export(write(tmp_path, json.dumps(content), "a.json"))


@pytest.mark.parametrize("depth", [500, 50_000])
def test_lists_in_lists_are_refused(depth, tmp_path):
    cell = "[" * depth + "]" * depth
    with pytest.raises(InputError, match=r"answers that are no labels .*\n.*line 2: 'labels': "):
        read_export(write(tmp_path, CSV.replace('"cat",1.5', f'"{cell}",1.5', 1)), "data.choices=[labels]")


@pytest.mark.parametrize(
    ("interface", "words"),
    [("no xml", "is not XML"), ("<View/>", r"has no control 'labels' of data.choices; it has none that holds labels")],
)
def test_what_is_no_interface_is_refused(interface, words, tmp_path):
    write(tmp_path, interface, "i.xml")
    with pytest.raises(InputError, match=words):
        read_export(write(tmp_path, CSV), f"data.interface={tmp_path}/i.xml", "data.choices=[labels]")
