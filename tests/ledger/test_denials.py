"""Denials in the ledger: what is recorded of a request that comes from outside, and what is not."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.ledger.denials import record_denial
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from resources.object_store import ObjectStore
from resources.policed_object_store import AccessDeniedError
from resources.policy_engine import Decision
from resources.settings import PlatformSettings, Principal, PrincipalLabels

DENIED = Decision(allow=False, reasons=("user is not in group ml-engineers",))


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger.open(tmp_path / "ledger.sqlite", principal="store")


def test_a_denial_says_who_what_and_why(ledger):
    """The subject is the path; the body has method, user, groups, environment and reasons."""
    request = {
        "method": "GET",
        "path": "/models/prod/line/1/a",
        "user": {
            "name": "ada",
            "groups": ["staff"],
            "roles": [],
            "labels": {"env": "prod"},
            "password": "hush",
        },
    }
    record_denial(ledger, request, DENIED)
    (entry,) = ledger.entries(kind="denial")
    assert entry.subject == "/models/prod/line/1/a"
    assert entry.body == {
        "method": "GET",
        "user": "ada",
        "groups": ["staff"],
        "env": "prod",
        "reasons": ["user is not in group ml-engineers"],
    }


def test_a_plugin_request_keeps_its_secrets(ledger):
    """Of claims only the environment is recorded, of conditions and headers nothing."""
    request = {
        "account": "root",
        "groups": None,
        "action": "s3:GetObject",
        "bucket": "models",
        "object": "prod/line/1/a",
        "claims": {"env": "prod", "email": "hush@example.org", "accessKey": "hush"},
        "conditions": {"Authorization": ["hush"], "X-Amz-Security-Token": ["hush"]},
    }
    record_denial(ledger, request, DENIED)
    (entry,) = ledger.entries(kind="denial", subject="/models/prod/line/1/a")
    assert entry.body == {
        "method": "s3:GetObject",
        "user": "root",
        "groups": [],
        "env": "prod",
        "reasons": ["user is not in group ml-engineers"],
    }
    assert b"hush" not in entry.raw


def test_equal_denials_are_entries_of_their_own(ledger):
    """Who tries a thousand times is seen a thousand times."""
    for _ in range(3):
        record_denial(ledger, {"method": "GET", "path": "/models/prod/a"}, DENIED)
    assert len(list(ledger.entries(kind="denial"))) == 3
    assert ledger.verify().ok


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    request_=st.dictionaries(
        st.sampled_from(
            ["method", "path", "user", "action", "bucket", "object", "groups", "claims", "account"]
        ),
        st.recursive(
            st.none()
            | st.integers()
            | st.floats()
            | st.text(st.characters(exclude_categories=()), max_size=400),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["env", "name", "groups", "labels"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_request_can_be_recorded(ledger, request_):
    """Whatever somebody sends, its denial is recorded, and is of moderate size."""
    before = ledger.head().count
    record_denial(ledger, request_, DENIED)
    newest = max(ledger.entries(kind="denial"), key=lambda entry: entry.seq)
    assert newest.seq == before + 1
    assert len(json.dumps(newest.body)) < 100_000


def test_the_platforms_store_records_what_it_denies(tmp_path):
    """The store that the settings open asks the policy, and its denials are in the settings' ledger."""
    settings = PlatformSettings(
        home=tmp_path, principal=Principal(user="ada", labels=PrincipalLabels(env="prod"))
    )
    store: ObjectStore = OutsideSystems(settings).object_store
    assert list(OutsideSystems(settings).ledger.entries()) == []
    with pytest.raises(AccessDeniedError, match="label env prod does not match dev"):
        store.exists("models/dev/line/1/model.json")
    (entry,) = OutsideSystems(settings).ledger.entries(kind="denial")
    assert (entry.subject, entry.principal) == ("/models/dev/line/1/model.json", "ada")
    assert entry.body["reasons"] == ["label env prod does not match dev"]


def test_the_settings_choose_the_bucket(tmp_path):
    """`PLATFORM_OBJECTS_URI` opens the S3 store; nothing is connected to."""
    settings = PlatformSettings(
        home=tmp_path, objects_uri="s3://bucket/assets", s3_endpoint="http://127.0.0.1:9"
    )
    with pytest.raises(AccessDeniedError):
        OutsideSystems(settings).object_store.list("models/prod")


def test_what_stands_behind_a_question_mark_is_not_recorded(ledger):
    """Signatures and tokens travel there; and a NUL, which Postgres does not take, is replaced."""
    path = "/models/prod/a\0b?X-Amz-Signature=SECRET&token=hush"

    record_denial(ledger, {"method": "GET", "path": path, "user": {}}, DENIED)

    (entry,) = ledger.entries(kind="denial")
    assert entry.subject == "/models/prod/a\N{REPLACEMENT CHARACTER}b"
    assert b"SECRET" not in entry.raw
