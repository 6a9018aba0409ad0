"""The report about a data set: what is in it and what is wrong with it, as JSON, as a page and in a few lines."""

import base64
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
from scipy.sparse import csr_array, vstack

from multihot.data.checks.findings import DataSet, Finding
from multihot.data.checks.inspection import ImageFacts
from multihot.data.checks.pictures import USUAL_CROP, lost_share
from multihot.errors import list_first

MAX_ENTRIES = 10  # of each finding on the page; the JSON has all
MAX_IMAGES = 10  # of each entry on the page
MAX_LABELS = (100, 20)  # most and least frequent ones on the page
MAX_CO_OCCURRING = 40  # most frequent labels whose co-occurrence is counted
MOST_AGREED = 10  # labels whose agreement the console shows
MAX_BARS = 21  # of the histogram; the last one holds the rest
NUM_THUMBNAILS = 24
THUMBNAILS_OF_KIND = {"near_duplicates_across_splits": 12, "duplicates_across_splits": 8, "near_duplicates": 8}
OTHER_THUMBNAILS = 4
THUMBNAIL_SIDE = 160  # pixels


def create_report(
    data: DataSet,
    facts: Sequence[ImageFacts],
    findings: Sequence[Finding],
    *,
    agreement: Sequence[dict] = (),
    looks_like: str | None = None,
) -> dict:
    """Returns all that report.json holds: verdict, findings, and counts of splits, images and labels.

    Args:
        agreement: of several people, see measure_agreement.
        looks_like: which other reader the files are for, in words.
    """
    counts = Counter()
    for finding in findings:
        counts[finding.kind.severity] += len(finding.entries)
    return {
        "looks_like": looks_like,
        "problems": counts["problem"],
        "warnings": counts["warning"],
        "findings": [describe_finding(data, finding) for finding in findings],
        "splits": describe_splits(data, facts),
        "images": describe_images(facts),
        "labels": [
            {"label": label, **{split: int(numbers[column]) for split, numbers in data.num_positives.items()}}
            for column, label in enumerate(data.labels)
        ],
        "labels_an_image": {
            split: np.bincount(labels_an_image(manifest.targets)).tolist() for split, manifest in data.manifests.items()
        },
        "agreement": list(agreement),
        "co_occurrence": count_co_occurrence(data),
    }


def describe_finding(data: DataSet, finding: Finding) -> dict:
    """Returns a finding with the place of every image that has it."""
    kind = finding.kind
    entries = [
        {
            "detail": entry.detail,
            "images": [
                {"image": data.image(row), "place": data.place(row), "split": data.split_of(row),
                 "labels": data.labels_of(row)}
                for row in entry.rows
            ],
        }
        for entry in finding.entries
    ]  # fmt: skip
    about = {"kind": kind.name, "severity": kind.severity, "title": kind.title, "advice": kind.advice}
    return {**about, "count": len(entries), "entries": entries}


def describe_splits(data: DataSet, facts: Sequence[ImageFacts]) -> list[dict]:
    """Returns how many images each split has, and how many labels they have."""
    splits = []
    for start, (split, manifest) in zip(data.starts, data.manifests.items(), strict=False):
        numbers = labels_an_image(manifest.targets)
        splits.append({
            "split": split,
            "num_images": len(manifest),
            "num_readable": sum(fact.status == "ok" for fact in facts[start : start + len(manifest)]),
            "num_without_label": int((numbers == 0).sum()),
            "labels_an_image": float(numbers.mean()) if len(numbers) else 0.0,
            "num_labels": int((data.num_positives[split] > 0).sum()),
            "num_unknown_answers": int((len(manifest) - manifest.num_known()).sum()),
        })  # fmt: skip
    return splits


def describe_images(facts: Sequence[ImageFacts]) -> dict:
    """Returns how the readable images are stored: formats and modes with their counts, and the range of sizes."""
    readable = [fact for fact in facts if fact.status == "ok"]
    sides = np.array([(fact.width, fact.height) for fact in readable], np.int64).reshape(-1, 2)
    shortest = sides.min(axis=1)
    return {
        "formats": dict(Counter(fact.format for fact in readable if fact.format).most_common()),
        "modes": dict(Counter(fact.mode for fact in readable if fact.mode).most_common()),
        "profiles": dict(Counter(fact.profile for fact in readable if fact.profile).most_common()),
        "never_seen": describe_lost(readable),
        "shorter_side": dict(zip(("min", "median", "max"), np.quantile(shortest, (0, 0.5, 1)).tolist(), strict=True))
        if len(readable)
        else {},
    }


def describe_lost(readable: Sequence[ImageFacts]) -> dict[str, float]:
    """Returns the share of the area of pictures that timm's usual crop never shows, in the mean and of the worst."""
    lost = [lost_share((fact.width, fact.height), USUAL_CROP) for fact in readable]
    return {"mean": round(sum(lost) / len(lost), 4), "worst": round(max(lost), 4)} if lost else {}


def labels_an_image(targets: csr_array) -> np.ndarray:
    """Returns how many labels each image has, int64 (N,).

    >>> labels_an_image(csr_array(np.int8([[1, 0, 1], [-1, 0, 0]]))).tolist()
    [2, 0]
    """
    has = np.concatenate([[0], np.cumsum(targets.data >= 0.5)])
    return has[targets.indptr[1:]] - has[targets.indptr[:-1]]


def count_co_occurrence(data: DataSet) -> dict:
    """Returns the most frequent labels, and how many images of all splits have each pair of them."""
    if not data.manifests:
        return {"labels": [], "counts": []}
    total = sum(data.num_positives.values())
    chosen = np.argsort(-total, kind="stable")[:MAX_CO_OCCURRING]
    chosen = chosen[total[chosen] > 0]
    targets = vstack([manifest.targets for manifest in data.manifests.values()], format="csr")[:, chosen]
    targets.data = (targets.data >= 0.5).astype(np.int64)
    return {"labels": [data.labels[k] for k in chosen], "counts": (targets.T @ targets).toarray().tolist()}


def format_report(report: dict) -> str:
    """Returns the findings with their first places, for the console."""
    lines = [report["looks_like"]] if report["looks_like"] else []
    for finding in report["findings"]:
        lines.append(f"{finding['severity']:8}{finding['count']:>7}  {finding['title']}")
        lines.append(list_first([describe_entry(entry) for entry in finding["entries"]], limit=3))
    lost = report["images"]["never_seen"]
    if lost:
        lines.append(
            f"timm's usual crop never shows {100 * lost['mean']:.0f}% of the area of the images in the mean, "
            f"{100 * lost['worst']:.0f}% of the worst"
        )
    if report["agreement"]:
        lines.append(format_agreement(report["agreement"]))
    return "\n".join([*lines, *[""] * bool(lines), verdict(report)])


def format_agreement(rows: Sequence[dict]) -> str:
    """Returns a table of the labels that people agree on least.

    >>> print(format_agreement([{"label": "cat", "num_images": 40, "agreement": 0.9, "alpha": 0.789}]))
    what several people say of an image, least agreed on first:
      images   agree   alpha  label
          40     90%    0.79  cat
    """
    lines = [
        f"  {row['num_images']:>6,} {row['agreement']:>7.0%} {show_alpha(row['alpha']):>7}  {row['label']}"
        for row in sort_agreement(rows)
    ]
    more = [f"  ... and {len(lines) - MOST_AGREED} more"] if len(lines) > MOST_AGREED else []
    title = "what several people say of an image, least agreed on first:"
    return "\n".join([title, "  images   agree   alpha  label", *lines[:MOST_AGREED], *more])


def sort_agreement(rows: Sequence[dict]) -> list[dict]:
    """Returns the labels that people agree on least first; last those without an alpha."""
    return sorted(rows, key=lambda row: (row["alpha"] is None, row["alpha"] or 0, row["agreement"]))


def show_alpha(alpha: float | None) -> str:
    """Returns Krippendorff's alpha as it is shown; a dash is not defined, as where all answers are the same."""
    return "-" if alpha is None else f"{alpha:.2f}"


def describe_entry(entry: dict) -> str:
    """Returns the places, images and details of one case in a line, or the whole text of what a reader says."""
    images = [f"{image['place']}: {image['image']}" for image in entry["images"][:3]]
    more = [f"and {len(entry['images']) - 3} more"] if len(entry["images"]) > 3 else []
    detail = entry["detail"].replace("\n", "\n  ")
    return "\n  = ".join(images + more) + (f" ({detail})" if images and detail else detail)


def verdict(report: dict) -> str:
    """Returns the numbers of problems and warnings in words.

    >>> verdict({"problems": 1, "warnings": 2000}), verdict({"problems": 0, "warnings": 0})
    ('1 problem, 2,000 warnings', 'no problems, no warnings')
    """
    return ", ".join(
        f"{report[key] or 'no':{',' if report[key] else ''}} {key.removesuffix('s') if report[key] == 1 else key}"
        for key in ("problems", "warnings")
    )


def save_report(
    folder: Path, report: dict, data: DataSet, facts: Sequence[ImageFacts], findings: Sequence[Finding], title: str
) -> None:
    """Writes report.json, and report.html: one page that needs nothing else.

    Args:
        title: the file or folder of the data; the page leaves out the folder that it is in where it names files.
    """
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("multihot.data.checks"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    beside = os.path.join(os.path.dirname(os.path.abspath(title)), "")
    environment.filters["shorten"] = lambda path: path.removeprefix(beside)
    page = environment.get_template("report.html").render(
        report=report,
        title=title,
        verdict=verdict(report),
        splits=list(data.manifests),
        findings=[
            {**described, "entries": described["entries"][:MAX_ENTRIES], "thumbnails": thumbnails}
            for described, thumbnails in zip(report["findings"], choose_thumbnails(data, facts, findings), strict=True)
        ],
        labels=choose_labels(report, list(data.manifests)),
        bars=histogram_bars(report["labels_an_image"]),
        agreement=[{**row, "alpha": show_alpha(row["alpha"])} for row in sort_agreement(report["agreement"])],
        max_labels=MAX_LABELS[0],
        cells=co_occurrence_cells(report["co_occurrence"]),
        max_images=MAX_IMAGES,
    )
    (folder / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")


def choose_thumbnails(
    data: DataSet, facts: Sequence[ImageFacts], findings: Sequence[Finding]
) -> list[list[list[dict]]]:
    """Returns for each finding the small pictures of its first entries that can be read, those of copies together."""
    room = {finding.kind.name: THUMBNAILS_OF_KIND.get(finding.kind.name, OTHER_THUMBNAILS) for finding in findings}
    left, chosen = NUM_THUMBNAILS, {name: [] for name in room}
    for finding in sorted(findings, key=lambda finding: finding.kind.name not in THUMBNAILS_OF_KIND):
        name = finding.kind.name
        for entry in finding.entries[:MAX_ENTRIES]:
            rows = [row for row in entry.rows[:3] if facts[row].status == "ok"]
            if name == "similar_labels" or len(rows) > min(room[name], left):
                break
            pictures = [create_thumbnail(data, row) for row in rows]
            room[name] -= len(pictures)
            left -= len(pictures)
            if pictures:
                chosen[name].append(pictures)
    return [chosen[finding.kind.name] for finding in findings]


def create_thumbnail(data: DataSet, row: int) -> dict:
    """Returns a small JPEG as a data URL with its caption."""
    manifest, own = data.locate(row)
    picture = manifest.read(manifest.images[own])
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    source = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return {"source": source, "name": Path(data.image(row)).name, "split": data.split_of(row),
            "labels": data.labels_of(row)}  # fmt: skip


def choose_labels(report: dict, splits: Sequence[str]) -> dict:
    """Returns the most and the least frequent labels with their counts, and how many are between them."""
    rows = sorted(report["labels"], key=lambda row: -sum(row[split] for split in splits))
    num_first, num_last = MAX_LABELS
    if len(rows) <= num_first + num_last:
        num_first, num_last = len(rows), 0
    largest = {split: max([1, *(row[split] for row in rows)]) for split in splits}
    last = rows[len(rows) - num_last :]
    return {"first": rows[:num_first], "last": last, "left_out": len(rows) - num_first - num_last, "largest": largest}


def histogram_bars(labels_an_image: dict[str, list[int]]) -> list[dict]:
    """Returns a bar for each number of labels and split: its share of the split's images and of the highest bar.

    >>> histogram_bars({"train": [1, 3]})[1]
    {'split': 'train', 'number': '1', 'count': 3, 'share': 0.75, 'height': 1.0}
    """
    num_bars = min(MAX_BARS, max(map(len, labels_an_image.values()), default=0))
    bars = []
    for number in range(num_bars):
        for split, counts in labels_an_image.items():
            is_rest = number == MAX_BARS - 1
            count = sum(counts[number:]) if is_rest else sum(counts[number : number + 1])
            bars.append({"split": split, "number": f"{number}+" if is_rest else str(number),
                         "count": count, "share": count / max(1, sum(counts))})  # fmt: skip
    highest = max((bar["share"] for bar in bars), default=1)
    return [{**bar, "height": bar["share"] / (highest or 1)} for bar in bars]


def co_occurrence_cells(co_occurrence: dict) -> list[dict]:
    """Returns a row for each label: the share of its images that have each other label."""
    labels, counts = co_occurrence["labels"], co_occurrence["counts"]
    return [
        {"label": label, "count": own[k], "cells": [
            {"label": labels[j], "count": count, "share": count / own[k], "is_own": j == k}
            for j, count in enumerate(own)
        ]}
        for k, (label, own) in enumerate(zip(labels, counts, strict=True))
    ]  # fmt: skip
