"""What is said of a file: findings by rule, and the worst of them as its verdict. Nothing here holds a value of a file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["pass", "quarantine", "reject"]
FailedVerdict = Literal["quarantine", "reject"]
"""`quarantine`: a person decides. `reject`: nobody can release it."""
Domain = Literal["dicom.identity", "dicom.image", "dicom.acquisition"]

DOMAINS: Final[tuple[Domain, ...]] = ("dicom.identity", "dicom.image", "dicom.acquisition")
_WORST_FIRST: Final[tuple[Verdict, ...]] = ("reject", "quarantine", "pass")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a file breaks."""

    rule: str
    """Its id, `<domain>.<name>`; never changes its meaning."""
    verdict: FailedVerdict
    tags: tuple[str, ...] = ()
    """Names of the attributes that decided, `(gggg,eeee)` where there is no name; sorted, each once."""
    count: int = 1
    """How often: attributes, pixels, files."""

    @property
    def domain(self) -> str:
        """The domain of the rule."""
        return self.rule.rpartition(".")[0]


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict of a file with these findings."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in _WORST_FIRST if verdict in found), "pass")
