"""What is drawn before the pixels: the shares that docs/phantom.md states, and what depends on what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tasks.image_classification.phantom.cohort import draw_cohort
from platform_assets.tasks.image_classification.phantom.request import PhantomRequest


@pytest.fixture(scope="module")
def many():
    """A hundred thousand images."""
    return draw_cohort(PhantomRequest(100_000, 1))


@settings(max_examples=30)
@given(n=st.integers(1, 300), seed=st.integers(0, 10**18 - 1))
def test_patients_have_one_to_four_images_and_one_sex_age_and_site(n, seed):
    """However many there are, whatever the seed; names are sorted."""
    cohort = draw_cohort(PhantomRequest(n, seed))
    names = [cohort.name(at) for at in range(n)]

    assert names == sorted(set(names))
    assert np.bincount(cohort.patient).max() <= 4
    assert (np.diff(cohort.patient) >= 0).all()
    assert (np.diff(cohort.patient) <= 1).all()
    for values in (cohort.site, cohort.is_woman, cohort.age):
        for patient in range(int(cohort.patient[-1]) + 1):
            assert len(set(values[cohort.patient == patient].tolist())) == 1
    assert len({cohort.uid("instance", at) for at in range(n)}) == n
    assert all(len(cohort.uid("study", at)) == 43 for at in range(n))
    assert ((cohort.grade == 0) == (cohort.finding < 0)).all()


def test_whoever_is_ill_is_more_often_taken_lying(many):
    """60 % from the front where there is a finding, 35 % where there is none; leads follow the view."""
    is_ill = many.finding >= 0

    assert is_ill.mean() == pytest.approx(0.41, abs=0.02)
    assert many.is_ap[is_ill].mean() == pytest.approx(0.60, abs=0.01)
    assert many.is_ap[~is_ill].mean() == pytest.approx(0.35, abs=0.01)
    assert many.has_leads[many.is_ap].mean() == pytest.approx(0.65, abs=0.01)
    assert many.has_leads[~many.is_ap].mean() == pytest.approx(0.08, abs=0.01)


def test_nothing_else_tells_who_is_ill(many):
    """Sex, age and site do not."""
    is_ill = many.finding >= 0
    for site in range(3):
        assert is_ill[many.site == site].mean() == pytest.approx(is_ill.mean(), abs=0.02)
    assert is_ill[many.is_woman].mean() == pytest.approx(is_ill.mean(), abs=0.02)
    assert np.corrcoef(many.age, is_ill)[0, 1] == pytest.approx(0, abs=0.02)


def test_readers_miss_faint_findings_and_see_some_that_are_not_there(many):
    """By grade 18, 10, 4, 1 and 0 % are missed; 3 % of the others are seen for nothing; some readers err more."""
    for grade, missed in zip(range(1, 6), (0.18, 0.10, 0.04, 0.01, 0), strict=True):
        assert 1 - many.label[many.grade == grade].mean() == pytest.approx(missed, abs=0.015)
    none = many.grade == 0
    assert many.label[none].mean() == pytest.approx(0.03, abs=0.005)
    by_reader = [many.label[none & (many.reader == reader)].mean() for reader in range(4)]
    assert by_reader == sorted(by_reader)


def test_kinds_of_findings_have_their_shares(many):
    """A quarter nodules, 45 % consolidations, the rest multifocal; grades alike often."""
    found = many.finding[many.finding >= 0]

    np.testing.assert_allclose(np.bincount(found) / len(found), [0.25, 0.45, 0.30], atol=0.02)
    np.testing.assert_allclose(np.bincount(many.grade)[1:] / len(found), [0.2] * 5, atol=0.02)
