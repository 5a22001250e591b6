"""Tekton's trigger files, executed: what each forge's events become, and what is refused when files are read."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from platform_assets.manifest import ManifestError
from sensors.cel import CelError, EvaluationError, Expression, cel_value, to_json
from sensors.interceptors import BodyError, Event, StoppedError
from sensors.substitution import BoundValue, Template
from sensors.triggers import TriggerError, read_triggers, triggers_folder
from tests.crd_schemas import violations
from tests.sensors.webhooks import PUSHES, SECRETS, SHA, event, payload

FOLDER = triggers_folder()
TRIGGERS = {trigger.name: trigger for trigger in read_triggers(FOLDER).triggers}
CRDS = {
    "EventListener": "tekton-eventlistener.yaml",
    "TriggerBinding": "tekton-triggerbinding.yaml",
    "TriggerTemplate": "tekton-triggertemplate.yaml",
}


def resolved(name, **changes):
    """The PipelineRun that a recorded webhook becomes."""
    (run,) = TRIGGERS[name.partition("_")[0]].resources(event(name, payload(name, **changes)))
    return run


def params(run):
    """Its parameters by name."""
    return {each["name"]: each["value"] for each in run["spec"]["params"]}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_files_are_valid_by_the_upstream_crds(path):
    """A cluster would take each of Tekton's objects; whatever else is there is access for them."""
    manifest = yaml.safe_load(path.read_text())
    if manifest["kind"] == "List":
        kinds = {item["kind"] for item in manifest["items"]}
        assert kinds == {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    else:
        assert violations(manifest, crd=CRDS[manifest["kind"]]) == []


def test_the_listener_may_only_read_and_create_runs():
    """Nothing is granted by wildcard, no secret can be read, and the only verb that changes anything is `create`."""
    items = yaml.safe_load((FOLDER / "rbac.yaml").read_text())["items"]
    rules = [rule for item in items for rule in item.get("rules", [])]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert {(resource, verb) for resource, verb in granted if verb not in {"get", "list", "watch"}} == {
        ("pipelineruns", "create")
    }
    assert not {"*", "secrets"} & {resource for resource, _ in granted}


def test_the_reference_binding_is_word_for_word():
    """`gitops-retrain-binding` takes the repository and the commit from where GitHub has them."""
    binding = yaml.safe_load((FOLDER / "gitops-retrain-binding.yaml").read_text())
    assert binding["apiVersion"] == "triggers.tekton.dev/v1beta1"
    assert binding["metadata"]["name"] == "gitops-retrain-binding"
    assert binding["spec"]["params"] == [
        {"name": "git-repo-url", "value": "$(body.repository.clone_url)"},
        {"name": "git-commit-sha", "value": "$(body.head_commit.id)"},
    ]


@pytest.mark.parametrize("forge", PUSHES)
def test_a_push_becomes_a_run_with_repository_ref_and_commit(forge):
    """Of every forge, each from its own fields; a parameter that nobody binds has its default."""
    repository, ref = PUSHES[forge]
    assert params(resolved(f"{forge}_push")) == {
        "git-repo-url": repository,
        "git-ref": ref,
        "git-commit-sha": SHA,
        "retrain-url": "http://platform-assets-listen:8170/v1/retrain",
    }


def test_the_run_is_what_tekton_would_create():
    """All of it: one task, no shell, values by the environment, token by a file, nothing that it may not do."""
    golden = json.loads((Path(__file__).parent / "data" / "pipeline_run.golden").read_text())
    assert resolved("github_push") == golden


def test_no_value_of_an_event_stands_in_a_command():
    """Whatever is bound reaches curl as an environment variable, never as part of its arguments."""
    (task,) = resolved("github_push")["spec"]["pipelineSpec"]["tasks"]
    (step,) = task["taskSpec"]["steps"]
    assert step["command"] == ["curl"]
    assert "script" not in step
    assert not [text for text in step["args"] if "$(" in text or SHA in text or "github.com" in text]


@pytest.mark.parametrize("secret", ["", "another secret"])
@pytest.mark.parametrize("forge", PUSHES)
def test_a_wrong_signature_does_not_hold(forge, secret):
    """Neither made with another secret, nor with none; the right one holds."""
    signature, key = TRIGGERS[forge].signature, SECRETS[f"{forge}-webhook"]
    assert signature.holds(event(f"{forge}_push"), key)
    assert not signature.holds(event(f"{forge}_push", secret=secret), key)


@pytest.mark.parametrize("forge", PUSHES)
def test_a_missing_signature_or_secret_does_not_hold(forge):
    """An unsigned event is refused, and where there is no secret every event is, signed with nothing or not."""
    signature = TRIGGERS[forge].signature
    assert not signature.holds(Event.of(b"{}", {}), SECRETS[f"{forge}-webhook"])
    for secret in (None, ""):
        assert not signature.holds(event(f"{forge}_push", secret=""), secret)
        assert not signature.holds(Event.of(b"{}", {signature.header: ""}), secret)


def test_a_signature_covers_the_body():
    """One changed byte, a SHA-1 signature, or a cut one is none."""
    signature, key = TRIGGERS["github"].signature, SECRETS["github-webhook"]
    signed = event("github_push")
    (sent,) = signed.headers["X-Hub-Signature-256"]
    for body, header in (
        (signed.body + b" ", sent),
        (signed.body, sent.removeprefix("sha256=")),
        (signed.body, "sha1=" + sent.removeprefix("sha256=")[:40]),
        (signed.body, sent[:-1]),
        (signed.body, sent.upper()),
        (signed.body, "sha256=é"),
    ):
        assert not signature.holds(Event.of(body, {"X-Hub-Signature-256": header}), key)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("github_ping", "events other than push"),
        ("github_merge_group", "events other than push"),
        ("github_tag", "filter branch"),
        ("github_deletion", "filter branch"),
        ("gitea_deletion", "events other than push"),
        ("gitea_tag", "filter branch"),
        ("gitea_deletion_push", "filter branch"),
        ("gitlab_tag", "events other than Push Hook"),
        ("gitlab_deletion", "filter branch"),
    ],
)
def test_what_is_no_push_to_a_branch_is_ignored(name, reason):
    """Pings, tags, deletions and the merge queue's events, each for its own reason."""
    with pytest.raises(StoppedError, match=reason):
        resolved(name)


@pytest.mark.parametrize("ref", ["refs/heads/topic", "refs/heads/release/ü", "refs/heads/MAIN"])
@pytest.mark.parametrize("forge", PUSHES)
def test_which_branches_count_the_files_do_not_say(forge, ref):
    """Every branch goes through, to where the settings decide."""
    assert params(resolved(f"{forge}_push", ref=ref))["git-ref"] == ref


@pytest.mark.parametrize("ref", ["refs/tags/v1", "main", "", None, ["refs/heads/main"]])
@pytest.mark.parametrize("forge", PUSHES)
def test_what_is_no_branch_is_ignored(forge, ref):
    """Branches are written in full."""
    with pytest.raises(StoppedError, match="branch"):
        resolved(f"{forge}_push", ref=ref)


def test_pushes_by_a_system_hook_of_gitlab_count():
    """One hook of an administrator takes the place of a hook in each project."""
    raw = event("gitlab_push", payload("gitlab_push", object_kind="push", event_name="push"))
    hook = Event(raw.body, {**raw.headers, "X-Gitlab-Event": ("System Hook",)})
    (run,) = TRIGGERS["gitlab"].resources(hook)
    assert params(run)["git-commit-sha"] == SHA


def test_forges_are_told_apart():
    """Gitea sends GitHub's headers too: with one secret for both, each push still has one trigger."""
    listed = payload("gitea_push", commits=[])
    with pytest.raises(StoppedError, match="filter forge"):
        TRIGGERS["github"].resources(event("gitea_push", listed))
    with pytest.raises(StoppedError, match="filter forge"):
        TRIGGERS["gitea"].resources(event("github_push"))


def commit(*, added=(), modified=(), removed=()):
    """A commit of GitHub's push, by its lists of paths."""
    return {"added": list(added), "modified": list(modified), "removed": list(removed)}


@pytest.mark.parametrize("forge", PUSHES)
@pytest.mark.parametrize(
    "commits",
    [[], [commit(modified=["README.md"])], [{"id": SHA, "message": "x"}]],
    ids=["none", "other", "bare"],
)
def test_which_paths_count_the_files_do_not_say(forge, commits):
    """Forges cut their lists, or send none: whoever drains the queue looks at Git."""
    assert resolved(f"{forge}_push", commits=commits)


URLS = [
    "https://github.com/a/b.git; rm -rf /",
    "https://github.com/$(RETRAIN_TOKEN)",
    "https://github.com/$(tt.params.git-commit-sha)",
    "https://github.com/`id`",
    'https://github.com/", "sha": "',
    "https://github.com/a b",
    "https://github.com/a\n",
    "file:///etc/passwd",
    "--upload-pack=/bin/sh",
    "ext::sh -c id",
    "",
    None,
    {"a": 1},
]


@pytest.mark.parametrize("url", URLS, ids=repr)
def test_a_repository_that_is_no_plain_url_is_refused(url):
    """Nothing that a shell, Git, curl, Kubernetes or Tekton would take for more than a URL."""
    for name, field in (
        ("github_push", "repository__clone_url"),
        ("gitea_push", "repository__clone_url"),
        ("gitlab_push", "project__git_http_url"),
    ):
        with pytest.raises(StoppedError, match="values"):
            resolved(name, **{field: url})


@pytest.mark.parametrize(
    "sha", ["main", SHA[:39], SHA.upper(), f"{SHA}\n", f"{SHA}; id", "$(uid)", 0, True, [SHA]], ids=repr
)
def test_a_commit_that_is_no_full_id_is_refused(sha):
    """Of each forge, from the field that its binding reads."""
    for name, field in (
        ("github_push", "head_commit__id"),
        ("gitea_push", "after"),
        ("gitlab_push", "checkout_sha"),
    ):
        with pytest.raises(StoppedError, match=r"values|branch"):
            resolved(name, **{field: sha})


def test_a_value_reaches_no_other_field():
    """What looks like JSON, a variable or a template's end stays the text that it is."""
    template = Template({"a": None, "b": None}, ('{"x": "$(tt.params.a)", "y": "-$(tt.params.b)-$(uid)"}',))
    bound = BoundValue.parse("$(body.a)")
    for text in ('"}, {"z": "', "\\", "\u2028<&>", "$(tt.params.b)", "$(uid)", "line\nbreak", "é\x00"):
        (made,) = template.resolve({"a": bound.resolve({"body": {"a": text}}), "b": "B"}, uid="U")
        # Tekton Pipelines reads $$( as a $( that is meant literally.
        assert made == {"x": text.replace("$(", "$$("), "y": "-B-U"}


@pytest.mark.parametrize("value", [{}, {"a": "b"}, ["x"], [",", ":1,", ":"]], ids=repr)
def test_a_value_with_quotes_of_its_own_is_refused(value):
    """An object or a list would end the text that it is put into: the last one would even be JSON."""
    template = Template({"a": None}, ('{"x": "$(tt.params.a)"}',))
    bound = BoundValue.parse("$(body.a)").resolve({"body": {"a": value}})
    if value:
        with pytest.raises(StoppedError, match="plain text"):
            template.resolve({"a": bound}, uid="U")
    else:
        assert template.resolve({"a": bound}, uid="U") == ({"x": "{}"},)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$(body.text)", "v\\r\\n烈"),
        ("$(body.empty)", ""),
        ("$(body.number)", "42"),
        ("$(body.fraction)", "0.5"),
        ("$(body.flag)", "true"),
        ("$(body.nothing)", "null"),
        ("$(body.list)", '["a",{"b":1}]'),
        ("$(body.list[1].b)", "1"),
        ("$(body['with space'])", "s"),
        ("$({.body.number})/$(body.number)", "42/42"),
        ("$(header.x-github-event)", "push,ping"),
        ("$(extensions.more.n)", "7"),
        ("$(context.eventID)", "id"),
        ("plain", "plain"),
    ],
)
def test_bindings_read_as_tekton_reads_them(text, value):
    """Text as inside a JSON string, everything else as JSON, headers by any spelling."""
    scope = {
        "body": {
            "text": "v\r\n烈",
            "empty": "",
            "number": 42.0,
            "fraction": 0.5,
            "flag": True,
            "nothing": None,
            "list": ["a", {"b": 1}],
            "with space": "s",
        },
        "header": {"X-Github-Event": "push,ping"},
        "extensions": {"more": {"n": 7}},
        "context": {"eventID": "id"},
    }
    assert BoundValue.parse(text).resolve(scope) == value


@pytest.mark.parametrize(
    "text", ["$(body.missing)", "$(body.text.deeper)", "$(body.text[0])", "$(body.list[2])", "$(header.x)"]
)
def test_a_path_that_leads_nowhere_is_an_error(text):
    """As in Tekton; a default of the template would take its place."""
    with pytest.raises(KeyError):
        BoundValue.parse(text).resolve({"body": {"text": "x", "list": [1, 2]}, "header": {}})


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ('"cut \\ud83d"', "cut \ufffd"),
        ('"\\ude00 cut"', "\ufffd cut"),
        ('"whole \\ud83d\\ude00, cut \\ud83d"', "whole \U0001f600, cut \ufffd"),
        ('"no escape \\\\ud83d"', "no escape \\ud83d"),
    ],
)
def test_half_an_emoji_is_read_as_go_reads_it(text, reads):
    """A forge that cuts a commit message cuts it anywhere; the push is still one."""
    body = json.dumps(payload("github_push", head_commit__message="MESSAGE")).replace('"MESSAGE"', text)
    sent = event("github_push", body.encode())
    assert sent.document["head_commit"]["message"] == reads
    assert TRIGGERS["github"].resources(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"a": "\\ud83d", "b": NaN}',
        b'{"a": "\\ud83d", "b": 1e999}',
        b'{"a": "\\ud83d"',
        b'["\\ud83d"' + b"[" * 100_000,
        b"null",
        b'"push"',
        b"{",
        b"payload=%7B%7D",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b"[" * 100_000,
        b'{"a": [' + b"0," * 250_000 + b"0]}",
    ],
    ids=lambda body: str(body[:12]),
)
def test_a_body_that_is_no_moderate_json_object_is_told_so(body):
    """Form-encoded, of another shape, too deep or too many values: an error of its own."""
    with pytest.raises(BodyError, match="the body"):
        TRIGGERS["github"].resources(event("github_push", body))


# --- CEL -------------------------------------------------------------------------------------------------

VARIABLES = {
    "body": cel_value({"n": 4, "list": [1, 2], "text": "a,b", "none": None, "yes": True}),
    "header": cel_value({"X-Github-Event": ["push", "ping"]}),
    "extensions": cel_value({}),
    "requestURL": cel_value("/?a=b"),
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("header.match('x-GITHUB-event', 'push')", True),
        ("header.match('X-Github-Event', 'ping')", False),
        ("header.canonical('x-github-event')", "push"),
        ("header.canonical('X-Other')", ""),
        ("body.n == 4.0 && int(body.n) == 4", True),
        ("has(body.none) && !has(body.other)", True),
        ("body.none == null", True),
        ("body.text.matches('^a,') && !body.text.matches('^b')", True),
        ("body.text.split(',')[1]", "b"),
        ("size(body.list) == 2 && body.list.exists(x, x == 2.0) && body.list.all(x, x > 0.0)", True),
        ("body.other == 1.0 || body.yes", True),
        ("requestURL.endsWith('?a=b')", True),
        ("{'a': [body.n, true, null]}", {"a": [4.0, True, None]}),
    ],
)
def test_cel_knows_what_tekton_gives_it(text, value):
    """Variables and functions of the interceptor; numbers are doubles."""
    assert to_json(Expression(text)(VARIABLES)) == value


@pytest.mark.parametrize(
    "text",
    [
        "body.other",
        "body.n == 'four' && body.text > 1",
        "body.text.matches('(')",
        "body.list[7]",
        "body.none.split(',')",
        "1 / 0 == 1",
    ],
)
def test_an_expression_without_value_is_an_error(text):
    """Missing members, other types, bad patterns: no value, rather than a wrong one."""
    with pytest.raises(EvaluationError):
        Expression(text)(VARIABLES)


def test_an_expression_takes_a_bounded_number_of_steps():
    """Loops within loops over a long list end, without a value."""
    long = VARIABLES | {"body": cel_value({"list": [0] * 100})}
    with pytest.raises(EvaluationError, match="steps"):
        Expression("body.list.all(a, body.list.all(b, body.list.all(c, true)))")(long)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("body.ref ==", "is not CEL"),
        ("bdy.ref == 'x'", "uses bdy"),
        ("body.ref.startWith('x')", "uses startWith"),
        ("body.list.exists(x, y == 1.0)", "uses y"),
        ("", "is not CEL"),
    ],
)
def test_an_expression_that_could_never_match_is_refused(text, problem):
    """A misspelt variable or function is an error at once, not a filter that stops everything."""
    with pytest.raises(CelError, match=problem):
        Expression(text)


# --- The files ---------------------------------------------------------------------------------------------


@pytest.fixture
def edited(tmp_path):
    """A copy of the files: `edited(file, change)` changes the document in one and reads all of them."""

    def edit(file, change):
        folder = tmp_path / "triggers"
        shutil.copytree(FOLDER, folder)
        document = yaml.safe_load((folder / file).read_text())
        change(document)
        (folder / file).write_text(yaml.safe_dump(document, sort_keys=False))
        return read_triggers(folder)

    return edit


def test_overlays_become_extensions(edited):
    """Nested by the dots of their keys, there for the next filter and for bindings."""

    def change(document):
        trigger = document["spec"]["triggers"][0]
        overlays = [
            {"key": "short.sha", "expression": "body.head_commit.id"},
            {"key": "event", "expression": "header.canonical('X-GitHub-Event')"},
        ]
        trigger["interceptors"][1]["params"].append({"name": "overlays", "value": overlays})
        filters = [
            {"name": "filter", "value": "extensions.event == 'push' && extensions.short.sha.matches('^6')"}
        ]
        trigger["interceptors"].append({"ref": {"name": "cel"}, "params": filters})
        trigger["bindings"][1]["value"] = "$(extensions.short.sha)"

    (run,) = edited("event-listener.yaml", change).triggers[0].resources(event("github_push"))
    assert params(run)["git-ref"] == SHA


def by_changed_files(document):
    """Lets the listener's own file filter by what GitHub lists."""
    trigger = document["spec"]["triggers"][0]
    trigger["interceptors"][0]["params"].append({"name": "addChangedFiles", "value": {"enabled": True}})
    matching = {"name": "filter", "value": "extensions.changed_files.matches('(^|,)models/')"}
    trigger["interceptors"].append({"name": "paths", "ref": {"name": "cel"}, "params": [matching]})


@pytest.mark.parametrize("kind", ["added", "modified", "removed"])
def test_files_of_ones_own_may_filter_by_changed_paths(edited, kind):
    """In whichever commit and list the path stands; a commit without lists cannot be judged."""
    trigger = edited("event-listener.yaml", by_changed_files).triggers[0]

    def pushed(*commits):
        return trigger.resources(event("github_push", payload("github_push", commits=list(commits))))

    assert pushed(commit(modified=["README.md"]), commit(**{kind: ["a", "models/b", "c"]}), commit())
    with pytest.raises(StoppedError, match="filter paths"):
        pushed(commit(modified=["README.md", "submodels/a"]))
    with pytest.raises(StoppedError, match="a commit without added"):
        pushed({"id": SHA})


def test_a_default_takes_the_place_of_a_missing_value(edited):
    """Only where the template has one; else the trigger makes nothing."""

    def bind_nothing(document):
        document["spec"]["triggers"][0]["bindings"][1]["value"] = "$(body.nowhere)"

    def bind_url(document):
        bind_nothing(document)
        document["spec"]["triggers"][0]["bindings"][1]["name"] = "retrain-url"
        document["spec"]["triggers"][0]["bindings"].append({"name": "git-ref", "value": "$(body.ref)"})

    (run,) = edited("event-listener.yaml", bind_url).triggers[0].resources(event("github_push"))
    assert params(run)["retrain-url"] == "http://platform-assets-listen:8170/v1/retrain"


def test_a_missing_value_without_default_stops_the_trigger(edited):
    """The reason names the parameter."""

    def change(document):
        document["spec"]["triggers"][0]["bindings"][1]["value"] = "$(body.nowhere)"

    with pytest.raises(StoppedError, match="git-ref"):
        edited("event-listener.yaml", change).triggers[0].resources(event("github_push"))


def test_an_object_does_not_fit_into_a_text(edited):
    """As in Tekton, whose run would be no JSON: the trigger makes nothing."""

    def change(document):
        document["spec"]["triggers"][0]["bindings"][1]["value"] = "$(body.repository)"

    with pytest.raises(StoppedError, match="plain text"):
        edited("event-listener.yaml", change).triggers[0].resources(event("github_push"))


def set_at(*path, value):
    """A change to one field; None removes it."""

    def change(document):
        node = document
        for key in path[:-1]:
            node = node[key]
        if value is None:
            del node[path[-1]]
        else:
            node[path[-1]] = value

    return change


LISTENER = "event-listener.yaml"
TRIGGER = ("spec", "triggers", 0)
SIGNATURE = (*TRIGGER, "interceptors", 0)


@pytest.mark.parametrize(
    ("file", "change", "field"),
    [
        (LISTENER, set_at("spec", "triggerGroups", value=[]), "spec.triggerGroups"),
        (LISTENER, set_at("apiVersion", value="triggers.tekton.dev/v1alpha1"), "apiVersion"),
        (LISTENER, set_at("kind", value="Trigger"), "kind"),
        (LISTENER, set_at(*TRIGGER, "templates", value={}), "spec.triggers.0.templates"),
        (LISTENER, set_at(*SIGNATURE, "ref", "name", value="bitbucket"), "interceptors.0.ref.name"),
        (LISTENER, set_at(*SIGNATURE, "ref", "name", value="cel"), "interceptors.0.params.0"),
        (
            LISTENER,
            set_at(*SIGNATURE, "ref", "kind", value="NamespacedInterceptor"),
            "interceptors.0.ref.kind",
        ),
        (LISTENER, set_at(*SIGNATURE, value=None), "interceptors.0.ref.name: the first interceptor"),
        (LISTENER, set_at(*SIGNATURE, "params", 0, value=None), "interceptors.0.params: secretRef"),
        (
            LISTENER,
            set_at(*SIGNATURE, "params", 0, "value", "secretKey", value=""),
            "params.0.value.secretKey",
        ),
        (LISTENER, set_at(*SIGNATURE, "params", 1, "name", value="eventType"), "params.1.value: eventType"),
        (
            LISTENER,
            set_at(*SIGNATURE, "params", 1, "name", value="secretRef"),
            "params.1: secretRef stands twice",
        ),
        (
            LISTENER,
            set_at(*TRIGGER, "interceptors", 1, "params", 0, "value", value="header.cannonical('X') == ''"),
            "interceptors.1.params: uses cannonical",
        ),
        (LISTENER, set_at(*TRIGGER, "bindings", 0, "ref", value="other"), "bindings.0.ref: there is no"),
        (LISTENER, set_at(*TRIGGER, "bindings", 0, "kind", value="ClusterTriggerBinding"), "bindings.0.kind"),
        (LISTENER, set_at(*TRIGGER, "bindings", 1, "value", value=None), "bindings.1: is either"),
        (LISTENER, set_at(*TRIGGER, "bindings", 1, "value", value="$(body.a"), "bindings.1.value"),
        (LISTENER, set_at(*TRIGGER, "bindings", 1, "value", value="$(bdy.a)"), "bindings.1.value"),
        (LISTENER, set_at(*TRIGGER, "bindings", 1, "value", value="$(body[?(@.a)])"), "bindings.1.value"),
        (
            LISTENER,
            set_at(*TRIGGER, "bindings", 1, "name", value="git-repo-url"),
            "bindings.1: binds git-repo-url",
        ),
        (LISTENER, set_at(*TRIGGER, "bindings", 1, value=None), "template.ref: git-ref of"),
        (LISTENER, set_at(*TRIGGER, "template", "ref", value="other"), "template.ref: there is no"),
        (
            "retrain-template.yaml",
            set_at("spec", "params", 0, value=None),
            "resourcetemplates.0: uses git-repo-url",
        ),
        ("retrain-template.yaml", set_at("spec", "resourceTemplates", value=[]), "spec.resourceTemplates"),
        (
            "gitops-retrain-binding.yaml",
            set_at("metadata", "name", value="gitea-retrain-binding"),
            "metadata.name",
        ),
        (
            "gitops-retrain-binding.yaml",
            set_at("spec", "params", 0, "value", value="$(body[])"),
            "params.0.value",
        ),
    ],
)
def test_what_cannot_be_executed_is_an_error_with_file_and_field(edited, file, change, field):
    """Nothing is skipped in silence: a file means here what it means in a cluster, or is refused."""
    with pytest.raises(ManifestError) as refused:
        edited(file, change)
    assert f"{file}:" in str(refused.value)
    assert field in str(refused.value)


def test_a_folder_holds_one_listener(tmp_path, edited):
    """None, or a second one, is an error that names the folder."""
    with pytest.raises(TriggerError, match="must hold one EventListener"):
        read_triggers(tmp_path)
    shutil.copytree(FOLDER, tmp_path / "two")
    shutil.copy(FOLDER / LISTENER, tmp_path / "two" / "another.yaml")
    with pytest.raises(TriggerError, match="holds 2"):
        read_triggers(tmp_path / "two")
