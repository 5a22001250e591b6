"""The schemas and field tables of docs/: what the models say, and what editors refuse by them."""

import json
import re
from copy import deepcopy

import pytest
from jsonschema import Draft202012Validator

from platform_assets.datasets.contract import CONTRACTS_FOLDER, load_contract
from platform_assets.features.transformer_spec import TRANSFORMERS_FOLDER, FeatureTransformer
from platform_assets.lines.line import load_line
from platform_assets.manifest import read_manifest, read_yaml
from resources.errors import PlatformError
from scripts.schemas import DOCS, main, schemas
from tests.line_factory import ROOT

SCHEMAS = schemas()
SPECS = [
    *sorted((ROOT / "platform_assets" / "models").glob("*/*training-spec.yaml")),
    ROOT / "tests" / "fixtures" / "reviews_small" / "training-spec.yaml",
]
SHIPPED = [*SPECS, *sorted(CONTRACTS_FOLDER.glob("*.yaml")), *sorted(TRANSFORMERS_FOLDER.glob("*.yaml"))]
TABLE_SPEC = ROOT / "platform_assets" / "models" / "credit_scorecard" / "training-spec.yaml"
CONTRACT = CONTRACTS_FOLDER / "transactions.yaml"
TRANSFORMER = TRANSFORMERS_FOLDER / "credit_woe.yaml"


def named_schema(file):
    """The schema file that the first line of a manifest names."""
    (path,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", file.read_text().splitlines()[0])
    return (file.parent / path).resolve()


def problems(schema, content):
    """What an editor would underline."""
    return [
        f"{'.'.join(map(str, each.path))}: {each.message}"
        for each in Draft202012Validator(schema).iter_errors(content)
    ]


def changed(content, path, value):
    """A copy in which something else stands at the dotted path."""
    copy = deepcopy(content)
    *folders, last = path.split(".")
    place = copy
    for folder in folders:
        place = place[int(folder) if isinstance(place, list) else folder]
    place[last] = value
    return copy


def test_the_files_are_what_the_models_say():
    """Nobody has changed one of them alone, and no file is left of a kind that is gone."""
    assert main(["--check"]) == 0
    kinds = {f"{name}.{ending}" for name in SCHEMAS for ending in ("json", "md")}
    found = {file.name for folder in ("schemas", "reference") for file in (DOCS / folder).iterdir()}
    assert found == kinds


def test_a_file_that_somebody_changed_is_told_and_written_anew(tmp_path, capsys):
    """`--check` fails and leaves it; without it the file is what the models say."""
    assert main(["--docs", str(tmp_path)]) == 0
    right = (tmp_path / "schemas" / "contract.json").read_text()
    wrong = right.replace('"timestamp"', '"moment"')
    assert wrong != right
    (tmp_path / "schemas" / "contract.json").write_text(wrong)

    assert main(["--check", "--docs", str(tmp_path)]) == 1
    assert "schemas/contract.json: not what the models say; run make schemas" in capsys.readouterr().err
    assert (tmp_path / "schemas" / "contract.json").read_text() == wrong

    assert main(["--docs", str(tmp_path)]) == 0
    assert (tmp_path / "schemas" / "contract.json").read_text() == right


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_says_what_it_is(name):
    """In words, in the schema and so in its table; no section of any kind is silent either."""
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    sections = {"": schema, **schema.get("$defs", {})}
    silent = [
        f"{section}.{field}"
        for section, content in sections.items()
        for field, found in content.get("properties", {}).items()
        if "description" not in found and "$ref" not in json.dumps(found)
    ]
    assert silent == []
    assert [
        section for section, content in sections.items() if content and "description" not in content
    ] == []
    assert "|  |" not in (DOCS / "reference" / f"{name}.md").read_text()


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_shipped_file_names_its_schema_and_keeps_it(file):
    """By a path that works in a clone, in its first line."""
    schema = json.loads(named_schema(file).read_text())
    assert schema in SCHEMAS.values()
    assert problems(schema, read_yaml(file).content) == []


WRONG = [
    (TABLE_SPEC, "train_row", 16),
    (TABLE_SPEC, "line", "Credit"),
    (TABLE_SPEC, "task", "text-classification"),
    (TABLE_SPEC, "seed", "7"),
    (TABLE_SPEC, "split", {"by": "weather"}),
    (TABLE_SPEC, "split", {"by": "rows", "test": 1.5}),
    (TABLE_SPEC, "columns.Home", "categoric"),
    (TABLE_SPEC, "columns.Home", "ordinal"),
    (TABLE_SPEC, "train_data_uri", []),
    (TABLE_SPEC, "gates", {"auk": "> 0.8"}),
    (TABLE_SPEC, "gates.auc", "< 0.8"),
    (TABLE_SPEC, "gates.auc", True),
    (TABLE_SPEC, "gates.coefficients_agree", False),
    (TABLE_SPEC, "requires", {"deploy": [{"subject": "moon", "rule_set": "x"}]}),
    (CONTRACT, "raw.columns.amount", "decimal"),
    (CONTRACT, "raw.keys", []),
    (CONTRACT, "expectations.0.meta", {}),
    (TRANSFORMER, "spec.woe", {"maxBins": 1}),
    (TRANSFORMER, "spec.columns", "Home"),
    (TRANSFORMER, "metadata.name", "Credit"),
]


@pytest.mark.parametrize(("file", "path", "value"), WRONG, ids=lambda each: getattr(each, "stem", str(each)))
def test_what_is_wrong_is_refused_by_schema_and_model_alike(tmp_path, file, path, value):
    """An unknown key, a wrong type, a value out of range, a word that is none of those."""
    content = read_yaml(file).content
    wrong = changed(content, path, value)
    schema = json.loads(named_schema(file).read_text())
    assert problems(schema, wrong) != []
    copy = tmp_path / "manifest.yaml"
    copy.write_text(json.dumps(content))
    _read(file, copy)
    copy.write_text(json.dumps(wrong))
    with pytest.raises(PlatformError, match=r"manifest\.yaml:1: "):
        _read(file, copy)


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        (TABLE_SPEC, "train_data_uri", "one.csv"),
        (TABLE_SPEC, "train_data_uri", ["one.csv", "two.csv"]),
        (TABLE_SPEC, "val_data_uri", None),
        (TABLE_SPEC, "columns.Home", "categorical"),
        (TABLE_SPEC, "columns.Home", {"role": "ordinal", "order": ["rent", "owner"]}),
        (TABLE_SPEC, "split", {"by": "time"}),
        (TRANSFORMER, "spec.woe", {"maxBins": 6.0, "specialValues": [-999, "n/a"]}),
        (TRANSFORMER, "status", {"newestVersion": "v3"}),
        (TRANSFORMER, "metadata.namespace", "risk"),
    ],
    ids=str,
)
def test_what_the_models_take_is_not_refused(file, path, value):
    """A single value for a list, a bare role, a whole number with a point, what a cluster adds to an object."""
    schema = json.loads(named_schema(file).read_text())
    assert problems(schema, changed(read_yaml(file).content, path, value)) == []


def _read(original, file):
    if original == CONTRACT:
        load_contract(file)
    elif original == TRANSFORMER:
        read_manifest(file, FeatureTransformer)
    else:
        load_line(file)  # which looks at its gates, too
