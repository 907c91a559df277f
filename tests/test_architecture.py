"""docs/architecture.md is true: its tree is what there is, its tables are what imports keep to."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = {"fastbp": "fastbp", "kernels": "fastbp.kernels"}  # folder: the name it is imported by
MOST_NAMES = 12

pytestmark = pytest.mark.small

# One subject in two folders: the kernels of the sensitivities, and what drives them.
NAMES_IN_BOTH_TREES = {"sensitivities"}


# ---- what the page says ----


@dataclass(frozen=True)
class Rule:
    """The tables of the page, by paths from the root of the repository."""

    may_import: dict[str, set[str]]
    circles: set[frozenset[str]] = field(default_factory=set)

    @classmethod
    def of_page(cls, text: str) -> Rule:
        may_import = {}
        for row in table_rows(text, "may import"):
            subject, others = map(quoted, row)
            assert subject[0] not in may_import, f"{subject[0]} has two rows"
            may_import[subject[0]] = set(others)
        circles = {frozenset(quoted(row[0])) for row in table_rows(text, "circles that are meant")}
        return cls(may_import, circles)

    def row_of(self, path: str) -> str:
        """Return the row of a module: its own, or that of its folder."""
        return path if path in self.may_import else f"{path.rsplit('/', 1)[0]}/"


def table_rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table in whose first line the heading stands."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    table = next(table for table in tables if heading in table.splitlines()[0])
    return [line.strip()[1:-1].split("|") for line in table.splitlines()[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def paths_of_tree(text: str) -> list[str]:
    """Return the paths of the drawn tree; folders end with a slash."""
    paths: list[str] = []
    folders: list[str] = []
    for line in text.splitlines():
        drawn = re.match(r"((?:│   |    )*(?:├── |└── ))?(\w+/|\w+\.py)(?:  |$)", line)
        if drawn is None:
            continue
        depth = len(drawn[1] or "") // 4
        folders[depth:] = [drawn[2]]
        paths.append("".join(folders))
    return paths


# ---- what there is ----


@dataclass(frozen=True)
class House:
    """The modules of some packages, and who imports whom."""

    root: Path
    packages: dict[str, str]

    def modules(self) -> dict[str, str]:
        """Return the path of every module, by the name it is imported by."""
        found = {}
        for folder, package in self.packages.items():
            for file in sorted((self.root / folder).rglob("*.py")):
                parts = file.relative_to(self.root / folder).with_suffix("").parts
                inner = parts[:-1] if parts[-1] == "__init__" else parts
                found[".".join((package, *inner))] = file.relative_to(self.root).as_posix()
        return found

    def imports(self) -> dict[str, set[str]]:
        """Return the paths of the modules that each module imports, for types alone as well."""
        modules = self.modules()
        return {
            path: {
                modules[name]
                for choices in imported_names((self.root / path).read_text("utf-8"), module, path)
                for name in [next(filter(modules.__contains__, choices), None)]
                if name is not None
            }
            for module, path in modules.items()
        }

    def levels(self) -> dict[str, list[str]]:
        """Return the names at each level: modules and folders, without ``__init__``."""
        levels: dict[str, list[str]] = {}
        for path in self.modules().values():
            *folders, name = Path(path).with_suffix("").parts
            for depth, folder in enumerate(folders[1:], 1):
                level = levels.setdefault("/".join(folders[:depth]), [])
                level.extend({folder} - set(level))
            if not name.startswith("__"):
                levels.setdefault("/".join(folders), []).append(name)
        return levels


def imported_names(source: str, module: str, path: str) -> Iterator[tuple[str, ...]]:
    """Yield what is imported, as full names: ``from a import b`` is the module a.b, or else a."""
    package = module.split(".") if path.endswith("__init__.py") else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{origin}.{alias.name}", origin) for alias in node.names)


def forbidden_imports(house: House, rule: Rule) -> list[tuple[str, str]]:
    """Return every import that no row of the table allows, as (importing, imported)."""
    return [
        (path, other)
        for path, others in house.imports().items()
        for other in sorted(others)
        if rule.row_of(other)
        not in {rule.row_of(path), *rule.may_import.get(rule.row_of(path), ())}
    ]


def circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    reached = {path: reachable(path, imports) for path in imports}
    return {
        frozenset(other for other in reached[path] if path in reached[other])
        for path in imports
        if path in reached[path]
    }


def reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def crowded_levels(house: House, most: int) -> dict[str, list[str]]:
    return {folder: names for folder, names in house.levels().items() if len(names) > most}


def repeated_names(house: House) -> list[str]:
    """Return the names of files that stand twice, and names that two packages use."""
    files = Counter(Path(path).stem for path in house.modules().values())
    repeated = {name for name, count in files.items() if count > 1 and not name.startswith("__")}
    trees = [
        {name for folder, names in house.levels().items()
         for name in names if folder.split("/")[0] == package}
        for package in house.packages
    ]  # fmt: skip
    return sorted(repeated | set.intersection(*trees))


# ---- the house is as the page says ----

HOUSE = House(ROOT, PACKAGES)


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rule(page: str) -> Rule:
    return Rule.of_page(page)


def test_the_tree_names_every_module_once(page: str) -> None:
    paths = set(HOUSE.modules().values())
    wanted = {path for path in paths if not path.endswith("/__init__.py")} | {"fastbp/__init__.py"}
    drawn = [path for path in paths_of_tree(page) if not path.endswith("/")]
    assert sorted(drawn) == sorted(wanted)


def test_every_module_has_a_row_in_the_table(rule: Rule) -> None:
    # A package's __init__ beside its modules; fastbp's own has a row to itself.
    rows = {rule.row_of(path) for path in HOUSE.modules().values()}
    assert rows == set(rule.may_import)


def test_the_table_allows_no_way_up(rule: Rule) -> None:
    meant = [{rule.row_of(path) for path in circle} for circle in rule.circles]
    assert circles(rule.may_import) == {frozenset(rows) for rows in meant if len(rows) > 1}


def test_no_import_is_outside_the_rule(rule: Rule) -> None:
    assert forbidden_imports(HOUSE, rule) == []


def test_the_wings_never_import_each_other(rule: Rule) -> None:
    for wing, other in (("network", "function"), ("function", "network")):
        rows = [row for row in rule.may_import if row.startswith(f"fastbp/{wing}/")]
        assert rows
        allowed = set().union(*(rule.may_import[row] for row in rows))
        assert not [row for row in allowed if row.startswith(f"fastbp/{other}/")]


def test_no_modules_import_each_other_but_those_that_are_meant_to(rule: Rule) -> None:
    assert circles(HOUSE.imports()) == rule.circles


def test_no_level_has_more_than_twelve_names() -> None:
    assert crowded_levels(HOUSE, MOST_NAMES) == {}


def test_no_name_stands_for_two_things() -> None:
    assert set(repeated_names(HOUSE)) == NAMES_IN_BOTH_TREES


def test_pyproject_lists_every_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    there = [module for module, path in HOUSE.modules().items() if path.endswith("/__init__.py")]
    assert sorted(listed) == sorted(there)


# ---- and the test would notice ----


@pytest.fixture
def small_house(tmp_path: Path) -> House:
    """Two packages of a few modules that keep to `SMALL_RULE`."""
    files = {
        "top/__init__.py": "",
        "top/errors.py": "import math",
        "top/upper/__init__.py": "",
        "top/upper/view.py": "from top.lower import model\nfrom top.lower.model import thing",
        "top/lower/__init__.py": "",
        "top/lower/model.py": "from top import errors\nfrom .parts import one",
        "top/lower/parts.py": "from top.inner.loops import fast",
        "inner/__init__.py": "",
        "inner/loops.py": "from . import tables",
        "inner/tables.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return House(tmp_path, {"top": "top", "inner": "top.inner"})


SMALL_RULE = """
| modules of | may import |
|---|---|
| `inner/` | |
| `top/` | |
| `top/lower/` | `top/`, `inner/` |
| `top/upper/` | `top/`, `top/lower/` |

| circles that are meant | why |
|---|---|
"""


def add(house: House, name: str, line: str) -> None:
    with (house.root / name).open("a") as file:
        file.write(f"\n{line}\n")


def test_a_house_that_keeps_to_its_rule_passes(small_house: House) -> None:
    rule = Rule.of_page(SMALL_RULE)
    assert rule == Rule(
        {
            "inner/": set(),
            "top/": set(),
            "top/lower/": {"top/", "inner/"},
            "top/upper/": {"top/", "top/lower/"},
        }
    )
    assert forbidden_imports(small_house, rule) == []
    assert circles(small_house.imports()) == set()
    assert repeated_names(small_house) == []
    assert small_house.levels() == {
        "inner": ["loops", "tables"],
        "top": ["errors", "lower", "upper"],
        "top/lower": ["model", "parts"],
        "top/upper": ["view"],
    }


@pytest.mark.parametrize(
    "line",
    [
        "import top.upper.view",
        "from top.upper import view",
        "from top.upper.view import thing",
        "from ..upper import view",
        "from ..upper.view import thing",
        "def later():\n    from top.upper import view",
        "if TYPE_CHECKING:\n    from top.upper.view import Thing",
    ],
)
def test_an_import_upwards_is_noticed_however_it_is_written(small_house: House, line: str) -> None:
    add(small_house, "top/lower/parts.py", line)
    found = forbidden_imports(small_house, Rule.of_page(SMALL_RULE))
    assert ("top/lower/parts.py", "top/upper/view.py") in found
    assert all(path == "top/lower/parts.py" for path, _ in found)


def test_an_import_of_a_package_itself_is_noticed(small_house: House) -> None:
    add(small_house, "top/errors.py", "import top.upper")
    found = forbidden_imports(small_house, Rule.of_page(SMALL_RULE))
    assert found == [("top/errors.py", "top/upper/__init__.py")]


def test_a_module_without_a_row_may_import_nothing_outside_its_folder(small_house: House) -> None:
    (small_house.root / "top/extra").mkdir()
    (small_house.root / "top/extra/__init__.py").touch()
    add(small_house, "top/extra/more.py", "from top.errors import Error")
    found = forbidden_imports(small_house, Rule.of_page(SMALL_RULE))
    assert ("top/extra/more.py", "top/errors.py") in found


def test_a_circle_is_noticed_also_through_a_third_module(small_house: House) -> None:
    add(small_house, "inner/tables.py", "from .chain import link")
    add(small_house, "inner/chain.py", "if TYPE_CHECKING:\n    from .loops import fast")
    names = ("chain", "loops", "tables")
    assert circles(small_house.imports()) == {frozenset(f"inner/{name}.py" for name in names)}


def test_a_full_level_is_noticed(small_house: House) -> None:
    for number in range(11):
        add(small_house, f"inner/more_{number}.py", "")
    assert list(crowded_levels(small_house, 12)) == ["inner"]
    assert crowded_levels(small_house, 13) == {}


@pytest.mark.parametrize("name", ["top/upper/model.py", "inner/lower.py", "inner/view.py"])
def test_a_name_that_stands_twice_is_noticed(small_house: House, name: str) -> None:
    add(small_house, name, "")
    assert repeated_names(small_house) == [Path(name).stem]


def test_a_drawn_tree_is_read_as_paths() -> None:
    drawn = """
    words before it
top/              the package
├── one.py        first
├── sub/          a folder
│   ├── two.py    second
│   └── deep/     deeper
│       └── three.py  third
└── four.py       fourth

inner/            another
└── five.py       fifth
"""
    assert paths_of_tree(drawn) == [
        "top/", "top/one.py", "top/sub/", "top/sub/two.py", "top/sub/deep/",
        "top/sub/deep/three.py", "top/four.py", "inner/", "inner/five.py",
    ]  # fmt: skip
