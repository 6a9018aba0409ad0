import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/multihot"
PACKAGES = (
    "serving", "prediction", "export", "comparison", "report", "training", "evaluation", "tracking", "run", "cli",
    "processes", "settings", "model", "loss", "decisions", "metrics", "data",
)  # fmt: skip  # each uses only those after it, and the modules beside them, which use none


def imports() -> set[tuple[str, str]]:
    """Returns (module, module that it imports), also inside of functions and for types alone."""
    names = {path: ".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")}
    names = {path: name.removesuffix("__init__").rstrip(".") for path, name in names.items()}
    found = set()
    for path, name in names.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "multihot":
                module = node.module.removeprefix("multihot").lstrip(".")
                inside = {f"{module}.{alias.name}".lstrip(".") for alias in node.names} & set(names.values())
                found |= {(name, other) for other in inside or {module}}
    return {(name, other) for name, other in found if name and other and name != other}


def test_packages_use_only_those_below_them():
    rank = {package: number for number, package in enumerate(PACKAGES)}
    pairs = {(name, other) for name, other in imports() if name.split(".")[0] != other.split(".")[0]}
    upwards = [
        f"{name} imports {other}"
        for name, other in sorted(pairs)
        if rank.get(name.split(".")[0], len(rank)) >= rank.get(other.split(".")[0], len(rank) + 1)
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle():
    left = imports()
    while left:  # what nobody imports, or what imports nothing, is in no circle
        starts, ends = {name for name, _ in left}, {other for _, other in left}
        rest = {(name, other) for name, other in left if name in ends and other in starts}
        assert rest != left, f"among these is a circle: {sorted(left)}"
        left = rest
