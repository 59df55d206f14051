"""What the project's files say of itself agrees: versions, bounds, systems, hooks."""

import configparser
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import i2moe_plugin
from i2moe_plugin import deprecation

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def config(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(read(name))
    return parser


SETUP = config("setup.cfg")
EXTRAS = list(SETUP["options.extras_require"].values())
STATED = [
    Requirement(line)
    for block in [SETUP["options"]["install_requires"], *EXTRAS]
    for line in block.split("\n")
    if line
]


def pins(name: str) -> dict[str, Version]:
    """Package -> version, of a file of constraints."""
    found = {}
    for line in read(name).splitlines():
        if line and not line.startswith("#"):
            package, version = line.split("==")
            assert package.lower() not in found, f"{package} twice in {name}"
            found[package.lower()] = Version(version)
    return found


def test_the_lowest_versions_are_those_that_are_stated():
    stated: dict[str, Version] = {}
    for requirement in STATED:
        (bound,) = requirement.specifier
        assert bound.operator == ">=", f"{requirement}: a lower bound alone"
        lowest = stated.setdefault(requirement.name.lower(), Version(bound.version))
        assert lowest == Version(bound.version), f"{requirement.name} has two bounds"
    lines = "\n".join(f"{name}=={stated[name]}" for name in sorted(stated))
    assert pins("constraints-lowest.txt") == stated, f"constraints-lowest.txt is to hold\n{lines}"


def test_what_is_tested_is_pinned_and_not_below_the_lowest():
    lowest, tested = pins("constraints-lowest.txt"), pins("constraints.txt")
    assert set(lowest) <= set(tested)
    assert [name for name in lowest if tested[name] < lowest[name]] == []


def test_python_versions_are_the_same_everywhere():
    listed = SETUP["metadata"]["classifiers"].split("\n")
    versions = [found[1] for line in listed if (found := re.search(r"Python :: (3\.\d+)$", line))]
    assert SETUP["options"]["python_requires"] == f">={versions[0]}"
    assert versions == ["3.11", "3.12", "3.13"]
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    assert jobs["systems"]["strategy"]["matrix"]["python"] == versions
    assert SETUP["mypy"]["python_version"] == versions[0]


def test_version_changelog_and_citation_agree():
    released, date = re.findall(r"^## \[([\d.]+)\] - (\S+)$", read("CHANGELOG.md"), re.MULTILINE)[0]
    citation = yaml.safe_load(read("CITATION.cff"))
    assert i2moe_plugin.__version__ == released == citation["version"]
    assert str(citation["date-released"]) == date
    assert Version(deprecation.REMOVED_IN) > Version(released)


def test_the_hook_and_the_jobs_run_environments_that_exist():
    tox = config("tox.ini")
    known = {section.removeprefix("testenv:") for section in tox if section.startswith("testenv:")}
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    (hook,) = repository["hooks"]
    assert hook["entry"] == "tox -e lint"
    assert "{[commands]lint}" in tox["testenv:ci"]["commands"]
    jobs = read(".github/workflows/ci.yml")
    named = set(re.findall(r"tox -e ([\w-]+)", jobs)) | set(re.findall(r"versions: (\w+)", jobs))
    assert {"tests", "lowest", "newest", "site", "slow"} <= named <= known


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")), ids=lambda path: path.name
)
def test_issue_forms_are_what_github_reads(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name != "config.yml":
        assert {"name", "description", "body"} <= set(form)
        for part in form["body"]:
            assert part["type"] in {"input", "textarea"}
            assert part["attributes"]["label"]
