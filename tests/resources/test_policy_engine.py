"""The policy: one table of requests on rego-cpp and on OPA, properties, and an engine that fails closed."""

import copy
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.policy_engine import Decision, PolicyEngineError, RegoEngine, policy_file

TABLE = yaml.safe_load(Path(__file__).with_name("policy_cases.yaml").read_text(encoding="utf-8"))


def built(case: dict[str, Any]) -> Any:
    """The request of a case of the table."""
    if "request" in case:
        return case["request"]
    form = "http" if "http" in case else "s3"
    request = copy.deepcopy(TABLE["bases"][form])
    for path, value in case[form].get("set", {}).items():
        *folders, name = path.split(".")
        inner = request
        for folder in folders:
            inner = inner[folder]
        inner[name] = value
    for path in case[form].get("without", []):
        *folders, name = path.split(".")
        inner = request
        for folder in folders:
            inner = inner[folder]
        del inner[name]
    return request


CASES = [pytest.param(built(case), case.get("reasons", []), id=case["name"]) for case in TABLE["cases"]]


@pytest.fixture(scope="module")
def engine():
    """The platform's policy on rego-cpp."""
    return RegoEngine()


@pytest.fixture(scope="module")
def opa() -> Callable[[Any], Decision]:
    """The platform's policy on OPA itself: its library, or a binary on the PATH."""
    policy = policy_file()
    try:
        from opa_bindings import OpaEngine
    except ImportError:
        binary = shutil.which("opa")
        if binary is None:
            pytest.skip(
                "NO OPA: install opa-golib-python-bindings or the binary to test the policy on OPA itself"
            )

        def ask(request: Any) -> dict[str, Any]:
            command = [
                binary,
                "eval",
                "--stdin-input",
                "--strict-builtin-errors",
                "--format=raw",
                "--data",
                policy,
            ]
            done = subprocess.run(
                [*command, "data.minio.auth"],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                check=True,
            )
            return json.loads(done.stdout)
    else:
        library = OpaEngine()  # strict about errors of built-in functions
        library.add_policy(policy.name, policy.read_text(encoding="utf-8"))

        def ask(request: Any) -> dict[str, Any]:
            return {
                rule: library.eval_document(f"minio.auth.{rule}", request) for rule in ("allow", "reasons")
            }

    def decide(request: Any) -> Decision:
        result = ask(request)
        return Decision(allow=result["allow"], reasons=tuple(sorted(result["reasons"])))

    return decide


def test_the_table_is_large_and_has_both_forms():
    """At least sixty requests, of both forms, allowed and denied."""
    assert len(CASES) >= 60
    assert len({case["name"] for case in TABLE["cases"]}) == len(CASES)
    for form in ("http", "s3"):
        assert {"reasons" in case for case in TABLE["cases"] if form in case} == {True, False}


@pytest.mark.parametrize(("request_", "reasons"), CASES)
def test_the_engine_decides_as_the_table_says(engine, request_, reasons):
    """Allowed, or denied for exactly the reasons that the table names."""
    if "\\u0000" in json.dumps(request_):
        # Never shown to rego-cpp, which would see the text before the NUL.
        reasons = ["request is not plain JSON of moderate size"]
    assert engine.decide(request_) == Decision(allow=not reasons, reasons=tuple(sorted(reasons)))


@pytest.mark.parametrize(("request_", "reasons"), CASES)
def test_opa_decides_as_the_table_says(opa, request_, reasons):
    """OPA itself says the same of every request, without an error of any built-in function."""
    assert opa(request_) == Decision(allow=not reasons, reasons=tuple(sorted(reasons)))


def _mutated(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Requests of either form that come close to being allowed; groups and roles are drawn from `names`."""
    lists = st.one_of(
        st.lists(names, max_size=3), names, st.none(), st.dictionaries(names, names, max_size=1)
    )
    envs = st.sampled_from(["prod", "dev", "*", "", None, ["prod"]])
    consent = st.sampled_from([True, True, False, "true", None])
    classes = st.sampled_from(["public", "internal", "personal", "sensitive", "secret", None, 1])
    tails = st.sampled_from(["prod/line/1/a", "dev/line/1/a", "prod/../dev/a", "prod", "prod/*", "prod/a\0b"])
    http = st.fixed_dictionaries(
        {
            "method": st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "get", 1]),
            "path": tails.map(lambda tail: f"/models/{tail}"),
            "user": st.fixed_dictionaries(
                {"groups": lists, "roles": lists, "labels": st.fixed_dictionaries({"env": envs})},
                optional={"consent": st.fixed_dictionaries({"gdpr": consent})},
            ),
        },
        optional={"object": st.fixed_dictionaries({}, optional={"gdpr_class": classes, "region": st.none()})},
    )
    s3 = st.fixed_dictionaries(
        {
            "account": st.just("root"),
            "owner": st.booleans(),
            "groups": lists,
            "action": st.sampled_from(
                ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject", "s3:*"]
            ),
            "bucket": st.sampled_from(["models", "platform"]),
            "object": tails,
            "claims": st.fixed_dictionaries(
                {},
                optional={
                    "env": envs,
                    "consent": consent,
                    "roles": lists,
                    "groups": lists,
                    "ldapUser": st.just("uid=ada,dc=org"),
                    "ldapAttrib_env": st.lists(envs, max_size=2),
                    "ldapAttrib_roles": lists,
                    "ldapAttrib_consent": st.lists(st.sampled_from(["TRUE", "FALSE", True]), max_size=2),
                    "sa-policy": st.sampled_from(["inherited-policy", "embedded-policy"]),
                    "parent": st.sampled_from(["ada", "bob"]),
                },
            ),
        },
        optional={
            "conditions": st.dictionaries(
                st.sampled_from(["ExistingObjectTag/gdpr-class", "prefix"]),
                st.lists(tails | classes, max_size=2),
            )
        },
    )
    return http | s3


OWN_WORDS = st.dictionaries(
    st.sampled_from(["groups", "roles", "env", "region", "consent", "userid", "jwt:groups", "ldap:groups"]),
    st.lists(
        st.sampled_from(["ml-engineers", "privacy", "trainer", "prod", "dev", "true", "ada"]), max_size=2
    ),
    min_size=1,
)
"""What whoever sends a request can write into its conditions: parameters stand there under their names."""


READERS = ("ml-engineers", "privacy")
WRITERS = ("trainer", "retention")
NAMES = st.one_of(
    st.sampled_from(
        ["ML-Engineers", "ml-engineers ", " privacy", "ml-engineers\0", "ml-engineer", "root", "*"]
    ),
    st.text(max_size=4),
)


@settings(max_examples=150)
@given(request_=_mutated(NAMES.filter(lambda name: name not in READERS) | st.sampled_from(WRITERS)))
def test_nobody_outside_the_groups_ever_reads(engine, request_):
    """Whatever else a request says: without group ml-engineers or privacy it may be a write, never a read."""
    decision = engine.decide(request_)
    assert not (decision.allow and _reads(request_))
    assert decision.allow == (not decision.reasons)


@settings(max_examples=150)
@given(request_=_mutated(NAMES.filter(lambda name: name not in WRITERS) | st.sampled_from(READERS)))
def test_nobody_without_the_role_ever_writes_or_deletes(engine, request_):
    """Whatever else a request says: without role trainer or retention it may be a read, never a write."""
    decision = engine.decide(request_)
    assert not (decision.allow and not _reads(request_))
    assert decision.allow == (not decision.reasons)


def _reads(request: dict[str, Any]) -> bool:
    return request.get("method") in ("GET", "HEAD") or str(request.get("action")).startswith(
        ("s3:Get", "s3:List")
    )


ANY_NAMES = st.sampled_from(
    [*READERS, *WRITERS, "others", "cn=ml-engineers,dc=org", "cn=privacy,ou=a b,dc=org"]
)


@settings(max_examples=150)
@given(case=st.sampled_from(CASES), request_=_mutated(ANY_NAMES), words=OWN_WORDS, near=st.booleans())
def test_what_a_user_says_of_himself_buys_nothing(engine, case, request_, words, near):
    """No parameter of a request allows what is denied without it."""
    request_ = case.values[0] if near else request_
    conditions = request_.get("conditions", {})
    if isinstance(conditions, dict):
        said = engine.decide(request_ | {"conditions": words | conditions})
        assert engine.decide(request_).allow or not said.allow


def _with_words(request: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    if "action" not in request:
        return request
    return request | {"conditions": request.get("conditions", {}) | words}


REQUESTS = st.builds(_with_words, _mutated(ANY_NAMES), OWN_WORDS | st.just({}))


def _agree(engine, opa, request):
    decision = engine.decide(request)
    if decision.reasons == ("request is not plain JSON of moderate size",):
        assert not opa(request).allow
    else:
        assert decision == opa(request)


@settings(max_examples=150)
@given(request_=REQUESTS)
def test_both_engines_agree(engine, opa, request_):
    """On requests that no table foresaw, rego-cpp and OPA decide alike, and for the same reasons."""
    _agree(engine, opa, request_)


@pytest.mark.long
@settings(max_examples=10_000)
@given(request_=REQUESTS)
def test_both_engines_agree_on_many(engine, opa, request_):
    """On ten thousand of them."""
    _agree(engine, opa, request_)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["method", "path", "user", "action", "claims"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@given(request_=JSON)
def test_arbitrary_json_is_denied_with_a_reason(engine, request_):
    """Not-a-numbers, huge integers, halves of characters, lists for objects: a denial, never an error."""
    decision = engine.decide(request_)
    assert not decision.allow
    assert decision.reasons


@pytest.mark.parametrize(
    "request_",
    [
        {"x": {1, 2}},
        {"x": b"bytes"},
        {1: 2},
        {"x": object()},
        {"x": 2**64},
        {"x": [0] * 5000},
        {"x": "\ud800"},
        {"x": float("nan")},
    ],
    ids=["set", "bytes", "number as a key", "object", "too large", "too long", "surrogate", "nan"],
)
def test_what_is_no_json_is_denied(engine, request_):
    """Nor is anything that a caller in Python could pass by mistake."""
    assert not engine.decide(TABLE["bases"]["http"] | request_).allow


def test_deep_requests_are_denied(engine):
    """Nesting that would exhaust the stack of the engine never reaches it."""
    request: dict[str, Any] = {}
    for _ in range(10_000):
        request = {"user": request}
    assert not engine.decide(request).allow


def test_threads_agree(engine):
    """Eight threads that decide at once decide as one does."""
    requests = [(case.values[0], engine.decide(case.values[0])) for case in CASES[::4]]
    start = threading.Barrier(8)

    def decide_all(_: int) -> bool:
        start.wait()
        return all(engine.decide(request) == expected for _ in range(8) for request, expected in requests)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(decide_all, range(8)))


# --- What was decided before -----------------------------------------------------------------------------------


@pytest.fixture
def evaluated(monkeypatch):
    """The requests that reach the policy, of all engines that are made after this."""
    seen = []
    evaluate = RegoEngine._evaluated

    def evaluated(self, asked):
        seen.append(json.loads(asked))
        return evaluate(self, asked)

    monkeypatch.setattr(RegoEngine, "_evaluated", evaluated)
    return seen


def test_equal_requests_are_decided_once(evaluated):
    """Allowed or denied, whatever the order of their fields; any other request is decided anew."""
    engine = RegoEngine()
    request = TABLE["bases"]["http"]
    evaluated.clear()
    for asked in (request, dict(reversed(request.items())), copy.deepcopy(request)):
        assert engine.decide(asked).allow
    assert not engine.decide(request | {"path": "/models/dev/a"}).allow
    assert not engine.decide(request | {"path": "/models/dev/a"}).allow
    assert len(evaluated) == 2


def test_requests_that_only_python_takes_for_equal_are_told_apart(evaluated):
    """True is 1 and 1 is 1.0 in Python; consent of 1 is none for the policy."""
    engine = RegoEngine()
    user = TABLE["bases"]["http"]["user"]
    for consent, allow in ((True, True), (1, False), (1.0, False), (True, True)):
        asked = TABLE["bases"]["http"] | {"user": user | {"consent": {"gdpr": consent}}}
        assert engine.decide(asked).allow is allow


def test_memory_is_bounded():
    """Of a hundred thousand requests some thousand are remembered, and none that is large."""
    engine = RegoEngine()
    assert engine._remembered.cache_info().maxsize <= 10_000
    before = engine._remembered.cache_info().currsize
    engine.decide(TABLE["bases"]["http"] | {"padding": "x" * 3_000})
    assert engine._remembered.cache_info().currsize == before


def test_each_policy_remembers_its_own_decisions(tmp_path):
    """An engine of another policy knows nothing of what this one decided."""
    other = tmp_path / "policy.rego"
    rule = 'reasons contains "another policy" if input.path == "/models/prod/closed/1/a"'
    other.write_text(policy_file().read_text(encoding="utf-8") + f"\n{rule}\n")
    request = TABLE["bases"]["http"] | {"path": "/models/prod/closed/1/a"}
    first, second = RegoEngine(), RegoEngine(other)
    for _ in range(2):
        assert first.decide(request).allow
        assert second.decide(request) == Decision(allow=False, reasons=("another policy",))


@pytest.mark.parametrize(
    "rule",
    [
        "time.now_ns() > 0",
        "rand.intn(input.path, 9) >= 0",
        "data.closed",
        "time . now_ns() > 0",
        "opa.runtime()",
    ],
)
def test_a_policy_that_looks_elsewhere_remembers_nothing(tmp_path, evaluated, rule):
    """What it said a moment ago may be wrong by now."""
    file = tmp_path / "policy.rego"
    text = policy_file().read_text(encoding="utf-8")
    file.write_text(f'{text}\nreasons contains "late" if {{\n\tinput.path == "/late"\n\t{rule}\n}}\n')
    engine = RegoEngine(file)
    evaluated.clear()
    for _ in range(2):
        assert engine.decide(TABLE["bases"]["http"]).allow
    assert len(evaluated) == 2
    assert not engine.remembers


def test_what_failed_is_tried_again(monkeypatch):
    """A failure says nothing of the request."""
    engine = RegoEngine()
    request = TABLE["bases"]["http"] | {"path": "/models/prod/line/1/failed"}

    def failing():
        raise MemoryError

    with monkeypatch.context() as failure:
        failure.setattr(engine, "_interpreter", failing)
        assert engine.decide(request).reasons == ("policy could not be evaluated (MemoryError)",)
    assert engine.decide(request).allow


def test_threads_that_remember_agree(engine):
    """Eight threads that ask more than is remembered get the answers of one."""
    fresh = RegoEngine()
    requests = [case.values[0] for case in CASES] * 3

    def decide_all(_):
        return [fresh.decide(request) for request in requests]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(decide_all, range(8)))
    assert answers == [[engine.decide(request) for request in requests]] * 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not rego",
        "package minio.auth\n\nallow := true\n",
        "package minio.auth\n\ndefault allow := false\n",
        "package other\n\ndefault allow := false\n",
        'package minio.auth\n\nallow if input.user == "root"\n',
        "package minio.auth\n\nallow if unknown_function(input)\n",
        "package minio.auth\n\nallow if {\n",
    ],
)
def test_an_unfit_policy_is_refused(tmp_path, text):
    """A policy that loads without a word but allows or denies known cases wrongly decides nothing."""
    file = tmp_path / "policy.rego"
    file.write_text(text)
    with pytest.raises(PolicyEngineError, match=r"policy\.rego"):
        RegoEngine(file)


RULES = ["placed", "same_env", "class_known", "same_region", "consented", "in_group", "in_role"]


@pytest.mark.parametrize("rule", RULES)
def test_a_policy_with_a_hole_is_refused(tmp_path, rule):
    """For each rule that an allowance rests on, a known case notices when it always holds."""
    file = tmp_path / "policy.rego"
    file.write_text(policy_file().read_text(encoding="utf-8") + f"\n{rule} if true\n")
    with pytest.raises(PolicyEngineError, match="allows what it must not"):
        RegoEngine(file)


@pytest.mark.parametrize("rule", [*RULES, "not blind", "not odd_user", "not odd_session"])
def test_reasons_stand_against_an_allowance_that_lost_a_rule(tmp_path, rule):
    """Should `allow` forget a rule, its reason still denies: both must agree."""
    file = tmp_path / "policy.rego"
    file.write_text(policy_file().read_text(encoding="utf-8").replace(f"\t{rule}\n", "", 2))
    engine = RegoEngine(file)
    for case in CASES:
        request, reasons = case.values
        assert engine.decide(request).allow == (not reasons)


def test_a_missing_policy_is_named(tmp_path):
    """Without a policy file nothing starts."""
    with pytest.raises(PolicyEngineError, match=r"gone\.rego cannot be read"):
        RegoEngine(tmp_path / "gone.rego")


def test_forked_processes_decide(engine):
    """The engine of a parent serves its forked children too."""
    code = (
        "import os; from resources.policy_engine import RegoEngine, _REQUEST; engine = RegoEngine(); child = os.fork();"
        "ok = engine.decide(_REQUEST).allow and not engine.decide({}).allow;"
        "os._exit(0 if ok else 1) if child == 0 else exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or not ok)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
