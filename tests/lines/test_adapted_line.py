"""A line goes on from its last retraining until its spec changes, and no run loosens what it is judged by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform_assets.governance import retraining
from platform_assets.governance.release import ACTIVATION
from platform_assets.governance.retraining import Retraining
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.definitions import adapted_lines
from platform_assets.lines.line import Line, LineError, load_line
from platform_assets.models.assets import SpecSource, spec_source
from platform_assets.references import DatasetVersion, FeaturesVersion
from platform_assets.tasks.training_spec import TrainingSpec
from tests.governance.conftest import example
from tests.line_factory import write_spec

AUTHOR = "Ada Lovelace <ada@acme.com>"
COMMIT = "c" * 40
REQUIRES = {"deploy": [{"subject": "model", "rule_set": "gate.auc"}]}


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """The small line."""
    return load_line(write_spec(tmp_path / "spec"))


@pytest.fixture
def ask(ledger: Ledger, line: Line) -> Callable[..., Entry]:
    """Requests a retraining that changes these fields of the spec."""

    def ask(**changes: Any) -> Entry:
        spec = line.spec.model_copy(update=changes)
        return retraining.request(
            ledger,
            Retraining(
                key=f"git:{sorted(changes)}",
                line=line.name,
                trigger="git",
                config=line.task.overrides(spec),
                basis=line.basis,
                source_commit=COMMIT,
                source_author=AUTHOR,
                evidence={},
            ),
        )

    return ask


@pytest.fixture
def activate(ledger: Ledger, line: Line) -> Callable[[str | None], Entry]:
    """Makes a release active that this request has made, or none."""

    def activate(request: str | None) -> Entry:
        body = {"release_id": "r", "pinned": False} | ({"retraining": request} if request else {})
        number = len(list(ledger.entries(kind=ACTIVATION)))
        return ledger.append(ACTIVATION, line.name, fingerprint=str(number), body=body)

    return activate


def test_a_line_follows_the_retraining_that_made_its_active_release(ask, activate, line, ledger):
    """Later runs go on from what was deployed, and say whose values these are."""
    request = ask(epochs=3, train_data_uri=("a.csv", "b.csv"))
    assert line.adapted(ledger) is line

    activate(request.hash)

    adapted = line.adapted(ledger)
    assert adapted.spec.epochs == 3
    assert adapted.spec.train_data_uri == ("a.csv", "b.csv")
    assert adapted.spec.gates == line.spec.gates
    assert adapted.retraining == request.hash
    assert adapted.basis == line.basis
    assert adapted.adapted(ledger) == adapted


def test_a_release_made_of_the_file_ends_it(ask, activate, line, ledger):
    """Whoever deploys the file as it is has decided so."""
    activate(ask(epochs=3).hash)
    activate(None)

    assert line.adapted(ledger) is line


def test_a_change_of_the_spec_ends_it(ask, activate, ledger, tmp_path):
    """The spec is what people say; it overrules what a trigger once asked for."""
    activate(ask(epochs=3).hash)
    changed = load_line(write_spec(tmp_path / "changed", seed=8))

    assert changed.adapted(ledger) is changed


def test_an_activation_that_names_no_request_of_the_line_is_refused(activate, line, ledger):
    """A reference into nothing is damage, not a reason to go on with something else."""
    activate("0" * 64)

    with pytest.raises(LineError, match="no request to retrain"):
        line.adapted(ledger)


def test_overrides_put_back_give_the_same_spec(line):
    """Nothing is lost on the way through the ledger and a run's config."""
    assert line.task.with_overrides(line.spec, line.overrides) == line.spec


@pytest.mark.parametrize(
    ("changes", "fixed"),
    [
        ({"epochs": 2, "train_rows": None, "max_length": 24}, []),
        ({"gates": {"auc": "> 0.5"}}, ["gates"]),
        ({"contract": "other.yaml", "epochs": 2}, ["contract"]),
        ({"val_data_uri": "easy.csv"}, ["val_data_uri"]),
        ({"train_data_uri": ("easy.csv",)}, ["train_data_uri[0]"]),
    ],
)
def test_what_a_run_may_not_change_is_named(line, changes, fixed):
    """Gates, contract, requirements and splits belong to the definitions."""
    assert line.fixed_differences(line.spec.model_copy(update=changes)) == fixed


def test_the_policy_of_drift_is_fixed_and_the_mix_of_the_reference_is_not(line):
    """Only the weights of the reference follow the stream."""
    drift = line.spec.drift

    def differences(**changes: Any) -> list[str]:
        return line.fixed_differences(
            line.spec.model_copy(update={"drift": drift.model_copy(update=changes)})
        )

    assert differences(reference_mix={"imdb": 1.0}) == []
    assert differences(tolerance_ks=0.9) == ["drift"]


@pytest.fixture
def features(line: Line) -> FeaturesVersion:
    """Features that were made by the spec of `line`."""
    recipe = {name: getattr(line.spec, name) for name in line.task.featurizer.fields}
    dataset = example(DatasetVersion, sources=line.spec.train_data_uri, train_rows=line.spec.train_rows)
    return example(FeaturesVersion, dataset=dataset, recipe=recipe)


def source(
    ledger: Ledger, request: Entry, spec: TrainingSpec, features: FeaturesVersion, line: Line
) -> SpecSource:
    """What the model would claim as the commit of its spec, and whose that is."""
    return spec_source(
        ledger, request.hash, spec, line.task.trainer, features, line.manifest.path, basis=line.basis
    )


def test_a_model_claims_the_pushed_commit_when_it_used_its_values(ask, line, ledger, features):
    """The spec of the commit is what trained it."""
    request = ask(epochs=2)

    found = source(ledger, request, line.spec.model_copy(update={"epochs": 2}), features, line)

    assert found == (COMMIT, AUTHOR)


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"seed": 99}])
def test_a_model_of_other_values_does_not_claim_the_commit(ask, line, ledger, features, changes):
    """A value of the run config that was changed by hand is nobody's commit."""
    request = ask(epochs=2)

    assert not {COMMIT, AUTHOR} & set(
        source(ledger, request, line.spec.model_copy(update=changes), features, line)
    )


def test_a_model_on_other_data_does_not_claim_the_commit(ask, line, ledger, features):
    """Materializing the model alone may meet a dataset of another spec."""
    request = ask(train_data_uri=("other.csv",))

    assert not {COMMIT, AUTHOR} & set(source(ledger, request, line.spec, features, line))


def test_a_model_on_fewer_rows_does_not_claim_the_commit(ask, line, ledger, features):
    """The same files, and less of them, are other data."""
    request = ask(train_rows=16)

    assert not {COMMIT, AUTHOR} & set(source(ledger, request, line.spec, features, line))


def test_a_model_under_other_rules_does_not_claim_the_commit(ask, line, ledger, features, tmp_path):
    """The definitions were deployed anew between the request and the run: gates and splits may differ."""
    request = ask(epochs=2)
    spec = line.spec.model_copy(update={"epochs": 2})
    deployed_anew = load_line(write_spec(tmp_path / "anew", gates={"auc": "> 0.8"}, requires=REQUIRES))

    assert not {COMMIT, AUTHOR} & set(source(ledger, request, spec, features, deployed_anew))


def test_a_line_that_cannot_take_its_retraining_any_more_is_down_alone(
    activate: Callable[[str | None], Entry], line: Line, ledger: Ledger, tmp_path: Path
) -> None:
    """A field that this version does not know: the line is told as broken, and the others are as they were."""
    other = load_line(write_spec(tmp_path / "other", line="other"))
    overrides = {stage: dict(values) for stage, values in line.overrides.items()}
    overrides["model"]["momentum"] = 0.9
    request = retraining.request(
        ledger,
        Retraining(
            key="git:old", line=line.name, trigger="git", config=overrides, basis=line.basis, evidence={}
        ),
    )
    activate(request.hash)

    sound, stuck = adapted_lines([line, other], ledger)

    assert [each.name for each in sound] == ["other"]
    assert [each.name for each in stuck] == [line.name]
    assert "momentum" in stuck[0].problem
