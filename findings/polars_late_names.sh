#!/usr/bin/env bash
# polars 2.1.0 reads the label names of JSON lines as null, if no image among the first 100 has a label; DuckDB 2.0.1
# puts them into quotes, if none among the first 20,480 has one.
#
# What it does: from lists that are all empty polars makes the type "list of null" and every later name a null, in
#   read_ndjson and scan_ndjson. DuckDB makes it "list of JSON", and a name then carries its quotation marks.
# One would expect: the names, as by pyarrow, or an error, as polars gives where a late word is in lists of numbers.
# Seen: 150 images without a label, then one with cat and dog: polars [None, None], length 2, and no row contains
#   "cat". 25,000 images, then the same: DuckDB '"cat"' with its quotation marks. The types by hand give the names.
# For users: predictions sorted by folder or by probability begin with images without a label. The number of labels of
#   each image stays right and no image has a given one. Give schema_overrides={"labels": List(String)}, or write
#   Parquet.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/predictions.jsonl" <<'PYTHON'
import json
import sys
from pathlib import Path

import duckdb
import polars
import pyarrow.json

path = sys.argv[1]
LABELS = {"labels": polars.List(polars.String)}
READERS = {
    "polars read_ndjson": lambda: polars.read_ndjson(path)["labels"][-1].to_list(),
    "polars scan_ndjson": lambda: polars.scan_ndjson(path).collect()["labels"][-1].to_list(),
    "polars with the type": lambda: polars.read_ndjson(path, schema_overrides=LABELS)["labels"][-1].to_list(),
    "duckdb": lambda: duckdb.sql(f"from '{path}'").fetchall()[-1][1],
    "duckdb with the type": lambda: duckdb.sql(
        f"from read_json('{path}', columns={{image: 'varchar', labels: 'varchar[]'}})").fetchall()[-1][1],
    "pyarrow": lambda: pyarrow.json.read_json(path)["labels"][-1].as_py(),
}


def late_names(images: int) -> dict[str, list[str | None]]:
    """What each reader makes of the names behind so many images without a label."""
    rows = [{"image": f"{image}.jpg", "labels": []} for image in range(images)]
    rows.append({"image": "last.jpg", "labels": ["cat", "dog"]})
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: read() for name, read in READERS.items()}


seen = {images: late_names(images) for images in (99, 150, 25_000)}
for images, names in seen.items():
    print(f"behind {images} images without a label:")
    for name, labels in names.items():
        print(f"   {name}: {labels}")
held = polars.read_ndjson(path).filter(polars.col("labels").list.contains("cat")).height
print("images with a cat among 25,001 by polars:", held)
lost = {(images, name) for images, names in seen.items() for name, labels in names.items() if labels != ["cat", "dog"]}
expected = {(images, f"polars {way}_ndjson") for images in (150, 25_000) for way in ("read", "scan")}
if lost != expected | {(25_000, "duckdb")} or held:
    raise SystemExit("changed: which reader loses late names")
if seen[150]["polars read_ndjson"] != [None, None] or seen[25_000]["duckdb"] != ['"cat"', '"dog"']:
    raise SystemExit("changed: what becomes of late names")
PYTHON
