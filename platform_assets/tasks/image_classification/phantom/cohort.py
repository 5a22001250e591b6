"""Who was X-rayed, where, with what, what they have, and what a reader said: all columns but the pixels.

What is confounded and noisy is so on purpose, as in a hospital's own data (docs/phantom.md):

- whoever is ill is more often X-rayed lying, from the front (AP), with a mobile device and with leads on the chest;
- readers miss faint findings, and sometimes see some that are not there.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.tasks.image_classification.phantom.poses import POSES_A_VIEW
from platform_assets.tasks.image_classification.phantom.request import PhantomRequest

if TYPE_CHECKING:
    import numpy.typing as npt

FINDINGS: Final = ("nodule", "consolidation", "multifocal")
GRADES: Final = 5
READERS: Final = ("reader-1", "reader-2", "reader-3", "reader-4")
_FINDING_SHARES: Final = (0.25, 0.45, 0.30)
_IMAGES_A_PATIENT: Final = (0.2, 0.3, 0.3, 0.2)
_ILL: Final = 0.47
_ILL_IMAGES: Final = 0.88
"""Share of the images of whoever is ill that show it: the others are from before or after."""
_AP_WITH, _AP_WITHOUT = 0.60, 0.35
_MISSED: Final = (0.18, 0.10, 0.04, 0.01, 0.0)
"""By grade."""
_SEEN_FOR_NOTHING: Final = 0.03
_CARE: Final = (0.6, 0.8, 1.1, 1.5)
"""Times those, for each reader."""
_SITE_SHARES: Final = (0.45, 0.33, 0.22)
_WOMEN: Final = 0.46
_AGE, _AGE_SPREAD, _YOUNGEST, _OLDEST = 58, 16, 18, 89
_LEADS: Final = {"AP": 0.65, "PA": 0.08}
_FIRST_DAY: Final = date(2001, 1, 1)
_DAYS, _DAYS_BETWEEN = 2000, 97
_DRAWS: Final = 101


@dataclass(frozen=True, slots=True)
class Cohort:
    """Arrays of one element an image, in the order of the files; `patient` counts from 0 and never falls."""

    request: PhantomRequest
    patient: "npt.NDArray[np.int64]"
    number: "npt.NDArray[np.int64]"
    """Of the image among those of its patient, from 1."""
    site: "npt.NDArray[np.int64]"
    is_ap: "npt.NDArray[np.bool_]"
    pose: "npt.NDArray[np.int64]"
    """Position in `pose_maps`."""
    is_woman: "npt.NDArray[np.bool_]"
    age: "npt.NDArray[np.int64]"
    finding: "npt.NDArray[np.int64]"
    """Position in `FINDINGS`; -1: none."""
    grade: "npt.NDArray[np.int64]"
    """1 to 5; 0: no finding."""
    has_leads: "npt.NDArray[np.bool_]"
    reader: "npt.NDArray[np.int64]"
    label: "npt.NDArray[np.int64]"
    """The reader's."""

    def name(self, at: int) -> str:
        """Of a file within the source."""
        return f"images/{self.patient[at]:07}/{self.number[at]}.dcm"

    def patient_id(self, at: int) -> str:
        """Of a file; the file's name tells nothing of it."""
        return f"SYN-{self._digest('patient', int(self.patient[at]))[:12].upper()}"

    def day(self, at: int) -> str:
        """Of the study, in the form of DICOM: some day, later for later images of a patient."""
        start = int(self._digest("day", int(self.patient[at])), 16) % _DAYS
        return (_FIRST_DAY + timedelta(days=start + int(self.number[at]) * _DAYS_BETWEEN)).strftime("%Y%m%d")

    def uid(self, kind: str, at: int) -> str:
        """A UID of 43 signs, made of a number of 38 digits."""
        number = int(self._digest(kind, at), 16) % (9 * 10**37) + 10**37
        return f"2.25.{number}"

    def random(self, kind: int, at: int) -> np.random.Generator:
        """What draws for one image, or for one patient, whatever else is drawn."""
        return np.random.Generator(np.random.PCG64([self.request.seed, self.request.n, kind, at]))

    def _digest(self, kind: str, at: int) -> str:
        request = self.request
        whole = f"phantom chest {request.n} {request.seed} {request.defects} {kind} {at}"
        return hashlib.sha256(whole.encode()).hexdigest()


def draw_cohort(request: PhantomRequest) -> Cohort:
    """Everything that is drawn before the pixels, for all images at once."""
    random = np.random.Generator(np.random.PCG64([request.seed, request.n, _DRAWS]))
    n = request.n
    images = random.choice(len(_IMAGES_A_PATIENT), size=n, p=_IMAGES_A_PATIENT) + 1
    patient = np.repeat(np.arange(n), images)[:n]
    first = np.searchsorted(patient, patient)
    patients = int(patient[-1]) + 1

    of_patient: dict[str, Any] = {
        "site": random.choice(len(_SITE_SHARES), size=patients, p=_SITE_SHARES),
        "is_woman": random.random(patients) < _WOMEN,
        "age": np.clip(np.round(random.normal(_AGE, _AGE_SPREAD, patients)), _YOUNGEST, _OLDEST).astype(
            np.int64
        ),
        "is_ill": random.random(patients) < _ILL,
        "finding": random.choice(len(FINDINGS), size=patients, p=_FINDING_SHARES),
    }
    of_image = {name: values[patient] for name, values in of_patient.items()}
    shows = of_image["is_ill"] & (random.random(n) < _ILL_IMAGES)
    grade = random.integers(1, GRADES + 1, n)
    is_ap = random.random(n) < np.where(shows, _AP_WITH, _AP_WITHOUT)
    pose = is_ap * POSES_A_VIEW + random.integers(0, POSES_A_VIEW, n)
    has_leads = random.random(n) < np.where(is_ap, _LEADS["AP"], _LEADS["PA"])
    reader = random.integers(0, len(READERS), n)
    care = np.array(_CARE)[reader]
    misses = random.random(n) < np.array(_MISSED)[grade - 1] * care
    invents = random.random(n) < _SEEN_FOR_NOTHING * care
    return Cohort(
        request=request,
        patient=patient,
        number=np.arange(n) - first + 1,
        site=of_image["site"],
        is_ap=is_ap,
        pose=pose,
        is_woman=of_image["is_woman"],
        age=of_image["age"],
        finding=np.where(shows, of_image["finding"], -1),
        grade=np.where(shows, grade, 0),
        has_leads=has_leads,
        reader=reader,
        label=np.where(shows, ~misses, invents).astype(np.int64),
    )
