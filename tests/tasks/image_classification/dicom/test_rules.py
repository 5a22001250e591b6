"""The section `dicom` of a contract: strict, with file, line and field, and documented rule by rule."""

import re

import pytest

from platform_assets.datasets.contract import load_contract
from platform_assets.datasets.errors import ContractError
from platform_assets.tasks.image_classification.dicom.rules import ALWAYS, load_rules
from tests.line_factory import ROOT
from tests.tasks.image_classification.dicom.builders import CONTRACT, broken, chest_file

PAGE = ROOT / "docs" / "image-gate.md"
OF_THE_GATE = (
    "dicom.image.duplicate",
    "dicom.image.near_duplicate",
    "dicom.image.no_decoder",
    "dicom.image.crashes",
)


def _written(tmp_path, text):
    path = tmp_path / "contract.yaml"
    path.write_text(text, encoding="utf-8")
    return path


WRONG = {
    "dicom:\n  identity:\n    privat_tags: {}\n": "contract.yaml:3: dicom.identity.privat_tags: is not a known key",
    "dicom:\n  identity:\n    private_tags: {verdict: maybe}\n": "contract.yaml:3: dicom.identity.private_tags.verdict:",
    'dicom:\n  image:\n    size: {least: "64"}\n': "contract.yaml:3: dicom.image.size.least:",
    "dicom:\n  image:\n    sop_class: {}\n": "contract.yaml:3: dicom.image.sop_class.allowed: is missing",
    "dicom:\n  identity:\n    direct_identifiers:\n      dummies: {PatientID: '['}\n": "contract.yaml:4: dicom.identity.direct_identifiers.dummies.PatientID: is no regular expression",
    "dicom:\n  identity:\n    dates: {allowed: [shifted]}\n": "contract.yaml:3: dicom.identity.dates.allowed",
    "dicom:\n  identity:\n    direct_identifiers: {keep: ['113106']}\n": "contract.yaml:3: dicom.identity.direct_identifiers.keep",
    "name: x\n": "contract.yaml:1: dicom: is missing; add it",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_rule_is_told_with_file_line_and_field(tmp_path, text):
    """One sentence each."""
    with pytest.raises(ContractError, match=re.escape(WRONG[text])):
        load_rules(_written(tmp_path, text))


def test_a_rule_that_is_left_out_asks_nothing(tmp_path):
    """A section without rules lets everything pass that can be read."""
    asked = load_rules(_written(tmp_path, "dicom: {}\n"))
    content = chest_file(
        lambda made: (setattr(made, "PatientName", "Someone^Real"), setattr(made, "Modality", "CT"))
    )

    assert asked.declared == ALWAYS
    assert broken(content, asked=asked) == {}
    assert broken(b"no image", asked=asked) == {"image.not_dicom": "reject"}


def test_the_hash_of_a_domain_follows_its_rules_alone(tmp_path):
    """Comments, and rules of another domain, change nothing."""
    text = CONTRACT.read_text(encoding="utf-8")
    base = load_rules(CONTRACT).rule_set_hashes
    same = load_rules(_written(tmp_path, f"# a comment\n{text}")).rule_set_hashes
    other = load_rules(_written(tmp_path, text.replace("least_signs: 4", "least_signs: 5"))).rule_set_hashes

    assert base == same
    assert {domain for domain in base if base[domain] != other[domain]} == {"dicom.identity"}


def test_the_contract_that_ships_is_a_contract_of_the_platform_too():
    """Its expectations are about the table of files; its rules are let through."""
    assert load_contract(CONTRACT).domains == (
        *("dicom_identity", "dicom_image", "dicom_acquisition"),
        *("volume", "label_quality"),
    )


def test_every_rule_is_explained():
    """One row of the page each, and no row for a rule that there is not."""
    explained = set(re.findall(r"^\| `(dicom\.[a-z._]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE))

    assert explained == {*load_rules(CONTRACT).declared, *OF_THE_GATE}
