"""The rules of the gate, as the section `dicom` of a contract declares them; a rule that is left out asks nothing.

    dicom:
      identity:
        identity_removed: {verdict: quarantine}
        dates: {verdict: quarantine, allowed: [removed, modified]}
      image:
        sop_class: {verdict: reject, allowed: [1.2.840.10008.5.1.4.1.1.1]}

The id of a rule is `dicom.<section>.<name>`. What keeps a file from being read (`ALWAYS`) is not declared: no contract
can ask for files that nobody can read.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Final, Literal

import rfc8785
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from platform_assets.datasets.errors import ContractError
from platform_assets.manifest import ManifestError, Many, Section, bound, identity_of, read_yaml
from platform_assets.tasks.image_classification.dicom import files, reading, structure
from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.dicom.verdicts import DOMAINS, FailedVerdict

ALWAYS: Final = (
    files.NOT_A_FILE,
    files.TOO_LARGE,
    files.UNREADABLE,
    reading.NOT_DICOM,
    reading.TRUNCATED,
    structure.HEADER_TOO_LARGE,
    reading.INFLATES,
    reading.TRANSFER_SYNTAX,
)
"""Rules that hold whatever a contract says; each rejects."""

DatePolicy = Literal["removed", "modified", "retained"]
_Share = Annotated[float, Field(gt=0, le=1)]


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as problem:
        raise ValueError(f"is no regular expression: {problem.msg}") from None
    return pattern


_Pattern = Annotated[str, AfterValidator(_regex)]


class Rule(Section):
    """What becomes of a file that breaks it."""

    verdict: FailedVerdict = "quarantine"
    """`quarantine`: a person decides. `reject`: nobody can release it."""


class AllowedRule(Rule):
    """A value must be one of some."""

    allowed: Many[str]
    """Values that pass."""


class SopClassRule(AllowedRule):
    """What kind of object a file is."""

    verdict: FailedVerdict = "reject"
    doubtful: Many[str] = ()
    """UIDs of classes that are quarantined instead, e.g. secondary captures."""


class TransferSyntaxRule(AllowedRule):
    """How pixels are encoded."""

    verdict: FailedVerdict = "reject"


class BitsRule(Rule):
    """How a pixel is stored."""

    verdict: FailedVerdict = "reject"
    allocated: Many[int] = (8, 16)
    """Bits that one takes."""
    least_stored: Annotated[int, Field(gt=0, le=16)] = 8
    """Bits of them that are used, at least."""
    most_stored: Annotated[int, Field(gt=0, le=16)] = 16


class SizeRule(Rule):
    """How large an image is."""

    verdict: FailedVerdict = "reject"
    least: Annotated[int, Field(gt=0)] = 64
    """Rows and columns, each."""
    most: Annotated[int, Field(gt=0)] = 8192
    most_aspect: Annotated[float, Field(ge=1)] = 2.0
    """The longer side by the shorter."""


class FramesRule(Rule):
    """How many images a file holds."""

    most: Annotated[int, Field(gt=0)] = 1


class ConstantRule(Rule):
    """An image of one grey, or nearly."""

    verdict: FailedVerdict = "reject"
    least_levels: Annotated[int, Field(ge=2)] = 16
    """How many different values its pixels must have."""


class ClippedRule(Rule):
    """An image whose detail is lost at an end of its range."""

    most_share: _Share = 0.6
    """Of pixels that have the lowest or the highest value that occurs."""


class NearDuplicateRule(Rule):
    """An image that several patients have: a leak between splits, or a patient under two names."""

    most_bits: Annotated[int, Field(ge=0, le=64)] = 16
    """Bits of 256 by which two perceptual hashes of one image may differ."""


class TextRule(Rule):
    """Text among the pixels."""

    least_signs: Annotated[int, Field(ge=3)] = 4
    """On one line."""


class MethodsRule(Rule):
    """How identity was removed, by codes of DICOM's CID 7050."""

    codes: Many[str] = ("113100",)
    """All of them must stand in De-identification Method Code Sequence."""


class IdentifiersRule(Rule):
    """Attributes that name a person: those of PS3.15's basic profile, and any other person's name."""

    keep: Many[Literal["113105", "113108", "113109", "113112"]] = ()
    """Options of the profile under which some may stay, in files that state the same code: 113105 descriptors that were
    cleaned, 113108 the patient's characteristics such as age and sex, 113109 the device's identity, 113112 the
    institution's."""
    dummies: dict[str, _Pattern] = Field(default_factory=dict)
    """Attributes that the profile replaces or empties: the regular expression of what may stand there."""


class FreeTextRule(Rule):
    """Text and bytes, which may hold anything, in attributes that neither the profile nor this names."""

    allowed: Many[str] = ()
    """Attributes that pass, e.g. the names of codes."""


class PrivateTagsRule(Rule):
    """Attributes of odd groups, which mean what their maker says."""


class UidRootsRule(Rule):
    """Who has made UIDs: those of a hospital lead back to it."""

    allowed: Many[str]
    """What they may begin with."""


class DatesRule(Rule):
    """What became of dates and times."""

    allowed: Many[DatePolicy] = ("removed", "modified")
    """`removed`: there is none. `modified`: the file says so, by 113107 and (0028,0303). `retained`: likewise, by 113106."""


class AllowedOrAbsentRule(AllowedRule):
    """A value must be one of some; a file may lack it all the same."""

    absent: FailedVerdict | None = "quarantine"
    """What becomes of a file that lacks it; null: nothing."""


class BodyPartRule(AllowedOrAbsentRule):
    """What an image shows, by its name or by the code of its region."""

    codes: Many[str] = ()
    """Codes of Anatomic Region Sequence that pass, where there is no name."""


class SpacingRule(Rule):
    """Millimetres between pixels, at the detector or in the patient."""

    least: Annotated[float, Field(gt=0)] = 0.05
    most: Annotated[float, Field(gt=0)] = 5.0
    absent: FailedVerdict | None = None
    """What becomes of a file that does not tell; null: nothing."""


class IdentityRules(Section):
    """Domain `dicom.identity`: no file tells whose image it is."""

    identity_removed: Rule | None = None
    """Patient Identity Removed is YES."""
    methods: MethodsRule | None = None
    direct_identifiers: IdentifiersRule | None = None
    value_forms: Rule | None = None
    """Numbers, dates and codes are what they should be, as many as there should be."""
    free_text: FreeTextRule | None = None
    """Text and bytes stand only in attributes that are known for it."""
    private_tags: PrivateTagsRule | None = None
    overlays: Rule | None = None
    """No overlay and no curve, which may hold text."""
    uid_roots: UidRootsRule | None = None
    dates: DatesRule | None = None
    burned_in_annotation: Rule | None = None
    """Burned In Annotation is NO."""
    recognizable_features: Rule | None = None
    """Recognizable Visual Features is not YES."""
    burned_in_text: TextRule | None = None
    hidden_bytes: Rule | None = None
    """Nothing in the preamble, nor behind the pixels where no attribute is, nor in unused bits of pixels."""
    file_name: Rule | None = None
    """No part of the patient's name, and no date of birth, in the name of the file."""


class ImageRules(Section):
    """Domain `dicom.image`: a file is an image of the kind that was asked for."""

    encoding: TransferSyntaxRule | None = None
    """Its transfer syntax."""
    sop_class: SopClassRule | None = None
    same_object: Rule | None = None
    """Header of the file and object agree on class and instance."""
    photometric: AllowedRule | None = None
    samples: Rule | None = None
    """One sample for each pixel."""
    bits: BitsRule | None = None
    size: SizeRule | None = None
    frames: FramesRule | None = None
    intensity: Rule | None = None
    """Of Digital X-Ray: sign and shape of the look-up table fit the photometric interpretation."""
    lossy: Rule | None = None
    """Not compressed with loss."""
    attribute_types: Rule | None = None
    """What DICOM demands of these objects is there (types 1 and 2)."""
    pixel_data: Rule | None = None
    """There are pixels, as many as the header says."""
    decodes: Rule | None = None
    """They can be decoded, and are what the header says."""
    constant: ConstantRule | None = None
    clipped: ClippedRule | None = None
    duplicate: Rule | None = None
    """No other file has the same bytes, or the same SOP Instance UID."""
    near_duplicate: NearDuplicateRule | None = None


class AcquisitionRules(Section):
    """Domain `dicom.acquisition`: how the image was taken."""

    modality: AllowedRule | None = None
    presentation_intent: AllowedOrAbsentRule | None = None
    """Of Digital X-Ray."""
    body_part: BodyPartRule | None = None
    view_position: AllowedOrAbsentRule | None = None
    laterality: AllowedOrAbsentRule | None = None
    pixel_spacing: SpacingRule | None = None


class GateRules(Section):
    """What is asked of DICOM files."""

    ignore: Many[str] = ()
    """Names of files that are none of the images, e.g. `*.csv`."""
    limits: Limits = Field(default_factory=Limits)
    identity: IdentityRules = Field(default_factory=IdentityRules)
    image: ImageRules = Field(default_factory=ImageRules)
    acquisition: AcquisitionRules = Field(default_factory=AcquisitionRules)

    @property
    def rule_set_hashes(self) -> dict[str, str]:
        """SHA-256 (hex) by domain, over the RFC 8785 form of its rules."""
        return {
            domain: hashlib.sha256(rfc8785.dumps(identity_of(rules))).hexdigest()
            for domain, rules in zip(DOMAINS, (self.identity, self.image, self.acquisition), strict=True)
        }

    @property
    def declared(self) -> tuple[str, ...]:
        """Ids of all rules that are asked for, those of `ALWAYS` first."""
        named = [
            f"{domain}.{name}"
            for domain, rules in zip(DOMAINS, (self.identity, self.image, self.acquisition), strict=True)
            for name in type(rules).model_fields
            if getattr(rules, name) is not None
        ]
        return (*ALWAYS, *named)


class _RulesFile(BaseModel):
    """A contract, of which this reads its own section alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    dicom: GateRules


def load_rules(path: Path) -> GateRules:
    """The section `dicom` of a contract.

    Raises:
        ContractError: The file is missing, is not YAML, has no such section or one that breaks the format; the message
            lists every problem with file, line and field.
    """
    try:
        return bound(read_yaml(path), _RulesFile).content.dicom
    except ManifestError as problem:
        raise ContractError(str(problem)) from None
