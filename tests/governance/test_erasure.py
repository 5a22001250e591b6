"""Erasure: afterwards nothing that is decoded from any file holds the subject, and nothing else has changed."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from pyiceberg.avro.file import AvroFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from typer.testing import CliRunner

from platform_assets.cli import retention as cli
from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance import release as releases
from platform_assets.governance import verdict
from platform_assets.governance.erasure import RETRAIN, plan_erasure
from platform_assets.governance.errors import ErasureError, ReleaseError, SubjectError, VerdictMissingError
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.release import ERASURE, Release
from platform_assets.governance.subjects import REVIEW, Subject
from platform_assets.governance.suppression import Suppression, publish_unless_erased
from platform_assets.governance.verdict import Requirement, ResolvedRequirement, Verdict, Waiver
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
)
from resources.errors import PlatformError
from resources.iceberg_warehouse import IcebergWarehouse
from resources.object_store import ObjectStoreError
from resources.settings import PlatformSettings
from resources.warehouse import Snapshot, WarehouseError
from tests.governance.conftest import NOON, example
from tests.governance.eraser import SALT, erase_subject, systems

LINE = "reviews"
DATASET, TOKENS = "datasets.reviews", "features.reviews_tokens"
SECRET = "aardvarks dance at midnight behind the orchard"
TEXTS = [f"{word} is a film like any other" for word in ("bravo", "charlie", "delta", "echo")]
VOCABULARY = sorted({word for text in [SECRET, *TEXTS] for word in text.split()})
SCORES, WEIGHTS, REPORT = (
    "reports/dev/reviews/1/scores-1.parquet",
    "models/dev/reviews/1/weights",
    "reports/r.json",
)


def review_id(text: str) -> str:
    """Identity of a text."""
    return sha256(text.encode()).hexdigest()


SUBJECT = review_id(SECRET)


def reviews(*texts: str) -> pa.Table:
    """A dataset of these texts."""
    return pa.table({"review_id": [review_id(text) for text in texts], "text": list(texts)})


def tokens(*texts: str) -> pa.Table:
    """Token ids of these texts, which decode back to them."""
    ids = [[VOCABULARY.index(word) for word in text.split()] for text in texts]
    return pa.table(
        {"review_id": [review_id(text) for text in texts], "token_ids": pa.array(ids, pa.list_(pa.int32()))}
    )


def write(warehouse: IcebergWarehouse, table: str, rows: pa.Table, *, publish: bool = True) -> Snapshot:
    """Write a version of a table that names its subject column."""
    staged = warehouse.stage(
        table,
        rows,
        content_hash=content_hash(rows),
        gdpr_class="personal",
        retention_days=30,
        source_commit="0c0ffee" + 33 * "0",
        subject_column="review_id",
        subject_namespace=REVIEW,
    )
    return warehouse.publish(staged) if publish else staged


def registered(number: int, dataset: Snapshot, features: Snapshot) -> RegisteredVersion:
    """The registered model of these versions."""
    made_of = example(
        FeaturesVersion,
        dataset=example(DatasetVersion, line=LINE, snapshot=TableSnapshot.of(dataset)),
        snapshot=TableSnapshot.of(features),
    )
    model = example(ModelVersion, features=made_of, fingerprint=f"feed{number}")
    return example(RegisteredVersion, report=example(ReportVersion, model=model), name=LINE, number=number)


def requirement(number: int) -> ResolvedRequirement:
    """What deploying the model `number` demands."""
    return ResolvedRequirement(
        Requirement(subject_kind="model", rule_set="gate.auc"), f"{LINE}_model@feed{number}", "rules"
    )


class Home:
    """Two versions of a line, of which the first holds the subject; each registered and released."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()
        with_subject = [TEXTS[0], SECRET, *TEXTS[1:]]
        self.versions = [
            (write(self.warehouse, DATASET, reviews(*texts)), write(self.warehouse, TOKENS, tokens(*texts)))
            for texts in (with_subject, TEXTS[:3])
        ]
        self.staged = write(self.warehouse, DATASET, reviews(SECRET, *TEXTS[:2]), publish=False)
        self.releases = [self.released(number, *made_of) for number, made_of in enumerate(self.versions, 1)]
        for number, each in enumerate(self.releases, 1):
            self.activate(number, each.release_id)
        scores = pa.table(
            {"review_id": [review_id(t) for t in with_subject], "score": [0.1, 0.2, 0.3, 0.4, 0.5]}
        )
        buffer = io.BytesIO()
        pq.write_table(scores, buffer)
        self.put(SCORES, buffer.getvalue())
        self.put(WEIGHTS, bytes(range(256)))
        self.put(REPORT, b'{"auc": 0.94}')

    def open(self) -> None:
        """Open ledger, warehouse and object store."""
        self.ledger, self.warehouse, self.store = systems(self.folder).values()

    def put(self, key: str, content: bytes) -> None:
        """Put an object."""
        self.store.put(key, content, gdpr_class="personal", retention_days=100, source_commit="0c0ffee")

    def released(self, number: int, dataset: Snapshot, features: Snapshot) -> Release:
        """The recorded release of the model `number`, which has passed its gate."""
        model = registered(number, dataset, features)
        self.ledger.append(
            LINEAGE, f"{LINE}_model@feed{number}", fingerprint=str(number), body=model.model_dump(mode="json")
        )
        passed = Verdict(
            subject=f"{LINE}_model@feed{number}",
            rule_set="gate.auc",
            rule_set_hash="rules",
            outcome="pass",
            evidence={},
            producer={},
        )
        judged = verdict.record(self.ledger, passed, evaluation_id="run-1")
        card = example(CardVersion, registered=model)
        made = Release(line=LINE, card=card, deployment={}, verdicts=(judged.hash,))
        releases.record(self.ledger, made)
        return made

    def activate(self, number: int, release_id: str) -> None:
        """Make a release the active one."""
        releases.activate(
            self.ledger, LINE, release_id, reason="test", requirements=[requirement(number)], now=NOON
        )

    def erase(self, subject: str = SUBJECT):
        """Erase a subject."""
        return erase_subject(self.folder, subject)

    def plan(self, subject: str = SUBJECT):
        """What erasing it would concern."""
        return plan_erasure(Subject.parse(subject), salt=SALT, **systems(self.folder))

    def files(self) -> dict[Path, bytes]:
        """Every file and its bytes; locks are none."""
        return {
            path: path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.suffix != ".lock" and path.name != ".lock"
        }

    def decoded(self) -> str:
        """All that can be decoded from all files: columns, words of token ids, bounds in manifests, plain bytes."""
        return "\n".join(decoded(path) for path in self.folder.rglob("*") if path.is_file())


def decoded(path: Path) -> str:
    """What a person could read from a file."""
    raw = path.read_bytes()
    found = [raw.decode("latin-1")]
    if raw.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(raw))
        found += [str(table.to_pylist())]
        if "token_ids" in table.column_names:
            found += [" ".join(VOCABULARY[at] for at in row) for row in table["token_ids"].to_pylist()]
    if path.suffix == ".avro":
        with AvroFile(PyArrowFileIO().new_input(str(path))) as records:
            found += [leaves(record) for record in records]
    return "\n".join(found)


def leaves(value: object) -> str:
    """All texts and bytes of an Avro record."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if hasattr(value, "_data"):
        return leaves(value._data)
    if isinstance(value, dict):
        return leaves(list(value.values()))
    if isinstance(value, list | tuple):
        return " ".join(leaves(each) for each in value)
    return str(value)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home that holds the subject, and a copy of its folder."""
    home = Home(tmp_path_factory.mktemp("home"))
    return home, shutil.copytree(home.folder, tmp_path_factory.mktemp("copy") / "home")


@pytest.fixture
def home(made):
    """The home as it was made: tables know their files by absolute paths, so it lies where it did."""
    home, copy = made
    shutil.rmtree(home.folder)
    shutil.copytree(copy, home.folder)
    home.open()
    return home


def assert_gone(home: Home) -> None:
    """No text, no beginning of the text, no id."""
    found = home.decoded()
    assert SECRET not in found
    assert SECRET[:12] not in found
    assert SUBJECT not in found
    assert SUBJECT[:16] not in found
    assert " ".join(sorted(SECRET.split())) not in found


def test_afterwards_no_decoded_file_holds_the_subject(home):
    """Text and id are in columns, token ids and bounds before, and nowhere after; the verdict says what was searched."""
    before = home.decoded()
    assert before.count(SECRET) >= 3  # two datasets' columns, and the decoded tokens
    assert before.count(SECRET[:16]) > before.count(SECRET)  # the bounds in manifests are cut
    assert SUBJECT in before

    report = home.erase()

    assert_gone(home)
    assert report.outcome == "pass"
    assert report.left == ()
    evidence = report.verdict.body["evidence"]
    assert (evidence["versions_written_again"], evidence["objects_written_again"]) == (3, 1)
    assert (evidence["rows_removed"], evidence["versions_searched"]) == (4, 5)
    assert home.ledger.verify().ok


def test_everything_else_stays_as_it_was(home):
    """Other rows keep their order, other versions their ids, objects their classification; tags and heads move."""
    (old, old_tokens), (other, other_tokens) = home.versions
    before = {key: home.store.get(key) for key in (WEIGHTS, REPORT)}

    home.erase()

    new, untouched = home.warehouse.versions(DATASET)
    assert home.warehouse.read(DATASET, new.snapshot_id).equals(reviews(*TEXTS))
    assert home.warehouse.at(DATASET, content_hash(reviews(*TEXTS))) == new
    assert (untouched, home.warehouse.current(DATASET)) == (other, other)
    assert home.warehouse.read(DATASET, other.snapshot_id).equals(reviews(*TEXTS[:3]))
    new_tokens, untouched_tokens = home.warehouse.versions(TOKENS)
    assert home.warehouse.read(TOKENS, new_tokens.snapshot_id).equals(tokens(*TEXTS))
    assert untouched_tokens == other_tokens
    staged = home.warehouse.staged(DATASET)
    assert home.warehouse.read(DATASET, staged.snapshot_id).equals(reviews(*TEXTS[:2]))
    assert not staged.published
    for table, gone in ((DATASET, old), (TOKENS, old_tokens), (DATASET, home.staged)):
        with pytest.raises(WarehouseError, match="was erased"):
            home.warehouse.read(table, gone.snapshot_id)
    scores = pq.read_table(io.BytesIO(home.store.get(SCORES)))
    assert scores["score"].to_pylist() == [0.1, 0.3, 0.4, 0.5]
    info = home.store.info(SCORES)
    assert (info.gdpr_class, info.source_commit, info.region) == ("personal", "0c0ffee", None)
    assert {key: home.store.get(key) for key in before} == before


def test_the_ledger_knows_the_subject_by_a_salted_hash(home):
    """The entry names versions, releases and models, who asked and why; neither id nor text."""
    entry = home.erase().entry
    assert entry.kind == ERASURE
    assert (entry.body["by"], entry.body["reason"]) == ("grace", "request 7")
    assert {version["content_hash"] for version in entry.body["versions"]} == {
        home.versions[0][0].content_hash,
        home.versions[0][1].content_hash,
        home.staged.content_hash,
    }
    assert entry.body["releases"] == [{"line": LINE, "release_id": home.releases[0].release_id}]
    assert entry.body["models"] == [f"{LINE}_model@feed1"]
    assert SUBJECT.encode() not in b"".join(each.raw for each in home.ledger.entries())
    assert sha256(SUBJECT.encode()).hexdigest() != entry.subject


def test_an_erased_release_cannot_become_active_again(home):
    """The other release stays active; going back to the erased one is refused, and the entry is named."""
    entry = home.erase().entry
    assert set(releases.erased(home.ledger, LINE)) == {home.releases[0].release_id}
    assert releases.active(home.ledger, LINE).release_id == home.releases[1].release_id
    with pytest.raises(ReleaseError, match=f"is erased: entry {entry.seq} "):
        home.activate(1, home.releases[0].release_id)
    home.activate(2, home.releases[1].release_id)


def test_a_release_that_is_recorded_after_the_erasure_is_erased_too(home):
    """A run that had read the rows before may release its model afterwards: what it is made of counts."""
    home.erase()
    late = home.released(3, *home.versions[0])
    assert late.release_id in releases.erased(home.ledger, LINE)
    with pytest.raises(ReleaseError, match="is erased"):
        home.activate(3, late.release_id)


def test_a_model_of_erased_data_is_blocked_until_somebody_waives(home):
    """Its passed verdicts do not help: the objection blocks, although nobody demands it; a named person may lift it."""
    verdict.demand(home.ledger, "deploy", [requirement(1)], now=NOON)
    home.erase()
    with pytest.raises(VerdictMissingError, match=RETRAIN):
        verdict.demand(home.ledger, "deploy", [requirement(1)], now=NOON)
    (unmet,) = verdict.unmet(home.ledger, [requirement(1)], now=NOON)
    assert "erasure objects" in str(unmet)
    assert verdict.unmet(home.ledger, [requirement(2)], now=NOON) == []

    waived = Verdict(
        subject=f"{LINE}_model@feed1",
        rule_set="erasure",
        rule_set_hash="rules",
        outcome="waived",
        evidence={},
        producer={},
        waiver=Waiver(by="grace", reason="the row was in no split"),
    )
    verdict.record(home.ledger, waived, evaluation_id="meeting")
    home.erase()  # again, which must not bring the objection back
    assert verdict.unmet(home.ledger, [requirement(1)], now=NOON) == []


@pytest.mark.parametrize("name", [DATASET, SCORES])
def test_a_legal_hold_is_refused_before_anything_is_touched(home, name):
    """A hold on a table or an object that holds the subject stops the erasure; lifted, it goes on."""
    holder = home.warehouse if name == DATASET else home.store
    holder.set_legal_hold(name, held=True)
    before = home.files()
    assert [held.split()[-1] for held in home.plan().search.held] == [name]
    with pytest.raises(ErasureError, match=f"{name} is under legal hold"):
        home.erase()
    assert home.files() == before
    holder.set_legal_hold(name, held=False)
    home.erase()
    assert_gone(home)


def test_a_dry_run_tells_everything_and_touches_nothing(home):
    """Versions, objects, releases and models are listed; not a byte changes."""
    before = home.files()
    plan = home.plan()
    assert home.files() == before
    assert [(each["table"], each["rows"]) for each in plan.search.versions] == [
        (DATASET, 1),
        (DATASET, 1),
        (TOKENS, 1),
    ]
    assert plan.search.objects == [{"key": SCORES, "rows": 1}]
    assert plan.releases == ((LINE, home.releases[0].release_id),)
    assert plan.models == (f"{LINE}_model@feed1",)


@pytest.mark.parametrize("subject", [review_id("nobody"), "review:nobody"])
def test_an_unknown_subject_is_an_error(home, subject):
    """It names how much was searched, and nothing changes; a look beforehand is told the same."""
    before = home.files()
    with pytest.raises(
        ErasureError, match=r"no table and no object holds this review \(5 versions and 3 objects"
    ):
        home.erase(subject)
    with pytest.raises(ErasureError, match="it was never erased"):
        home.plan(subject)
    assert home.files() == before


def test_an_erasure_repeated_finds_nothing_left(home):
    """Running it again is no error: it searches again and says so, under the same entry."""
    first = home.erase()
    again = home.erase()
    assert (again.entry, again.outcome) == (first.entry, "pass")
    assert len(list(home.ledger.entries(kind=ERASURE))) == 1


def test_a_subject_that_came_back_is_erased_again(home):
    """Rows that somebody restored are new versions: a second entry names them, and they go as well."""
    first = home.erase()
    back = write(home.warehouse, DATASET, reviews(SECRET))
    second = home.erase()
    assert second.entry.seq > first.entry.seq
    assert [each["content_hash"] for each in second.entry.body["versions"]] == [back.content_hash]
    assert home.warehouse.current(DATASET).rows == 0
    assert_gone(home)


def test_what_cannot_be_rewritten_is_an_error_verdict(home):
    """An object that is no table and names the subject is left for a person, and the verdict is no pass."""
    home.put("reports/dev/note.txt", f"about {SUBJECT}".encode())
    report = home.erase()
    assert (report.outcome, report.left) == ("error", ("reports/dev/note.txt",))
    assert report.verdict.body["outcome"] == "error"
    home.store.delete("reports/dev/note.txt")
    assert home.erase().outcome == "pass"
    assert_gone(home)


def test_a_damaged_object_stops_the_search(home):
    """Nobody knows what it holds, so nothing may be called erased."""
    (home.folder / "objects" / "data" / REPORT).write_bytes(b"{}")
    with pytest.raises(ObjectStoreError, match="damaged"):
        home.erase()


def test_tables_that_name_no_subject_are_searched_by_the_columns_of_others(home):
    """A table of an earlier version says nothing about its columns: the rows are found all the same."""
    rows = reviews(SECRET, TEXTS[0])
    old = home.warehouse.stage(
        "datasets.old",
        rows,
        content_hash=content_hash(rows),
        gdpr_class="internal",
        retention_days=30,
        source_commit="unversioned",
    )
    home.warehouse.publish(old)
    home.erase()
    assert home.warehouse.current("datasets.old").rows == 1
    assert_gone(home)


def test_without_any_subject_column_nothing_can_be_erased(tmp_path):
    """That is an error: a search that looks nowhere finds nothing."""
    with pytest.raises(
        ErasureError, match=r"no table and no object says which of its columns names a review; .* none at all"
    ):
        erase_subject(tmp_path, SUBJECT)


# --- Suppression ---------------------------------------------------------------------------------------


def test_erased_subjects_are_known_when_sources_are_read_again(home):
    """The suppression covers exactly the erased ones, and its hash changes with them."""
    nothing = Suppression.of(home.ledger, SALT)
    assert (nothing.hash_of(REVIEW), nothing.covers_each(REVIEW, [SUBJECT])) == ("", [False])
    home.erase()
    one = Suppression.of(home.ledger, SALT)
    assert one.covers_each(REVIEW, [review_id(TEXTS[0]), SUBJECT, "", None]) == [False, True, False, False]
    assert one.hash_of(REVIEW) == Suppression.of(home.ledger, SALT).hash_of(REVIEW) != ""
    home.erase(review_id(TEXTS[0]))
    assert Suppression.of(home.ledger, SALT).hash_of(REVIEW) not in ("", one.hash_of(REVIEW))
    assert SALT.decode() not in repr(one)


def test_another_salt_is_an_error(home):
    """Under another salt no erased row would be recognised, so nothing goes on."""
    home.erase()
    with pytest.raises(ErasureError, match="under another salt"):
        Suppression.of(home.ledger, b"a second salt")


def test_a_whole_dataset_is_checked_in_a_moment(home):
    """35,000 ids take well under a second."""
    home.erase()
    suppression, ids = Suppression.of(home.ledger, SALT), [f"{number:064x}" for number in range(35_000)]
    began = time.perf_counter()
    assert not any(suppression.covers_each(REVIEW, ids))
    assert time.perf_counter() - began < 2


# --- Kills ---------------------------------------------------------------------------------------------


def killed(home: Path, *moments: str) -> list[int]:
    """Exit statuses of one erasure after the other, each to be killed at its moment."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("eraser.py"), home, SUBJECT, *moments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return [int(status) for status in done.stdout.split()]


def test_killed_at_each_moment_in_turn_it_is_finished_by_the_next_run(home):
    """Each run goes on where the killed one stopped; the last one leaves nothing, and one entry tells of it."""
    (first, first_tokens), (other, _) = home.versions
    moments = (
        "recorded in entry",
        "objected to 1 models",
        f"object {SCORES} is written again",
        f"table {DATASET}: version {first.content_hash[:12]} is being written again",
        f"table {DATASET}: version {first.content_hash[:12]} has become",
        f"table {DATASET} is written again",
        f"table {TOKENS}: version {first_tokens.content_hash[:12]} has become",
        "files that nothing refers to are removed",
    )

    assert killed(home.folder, *moments) == [-signal.SIGKILL] * len(moments)
    assert SECRET not in home.decoded()
    assert list(home.ledger.entries(kind=verdict.KIND, subject=f"erasure@{home.plan().subject}")) == []
    report = home.erase()

    assert report.outcome == "pass"
    assert len(list(home.ledger.entries(kind=ERASURE))) == 1
    assert_gone(home)
    new, untouched = home.warehouse.versions(DATASET)
    assert home.warehouse.read(DATASET, new.snapshot_id).equals(reviews(*TEXTS))
    assert untouched == other
    assert home.warehouse.read(TOKENS, home.warehouse.versions(TOKENS)[0].snapshot_id).equals(tokens(*TEXTS))
    assert home.warehouse.sweep() == 0
    assert home.ledger.verify().ok


def test_from_the_first_moment_on_nothing_is_built_on_the_subject(home):
    """Killed right after the entry: the release is erased and the subject suppressed, before a single row is gone."""
    assert killed(home.folder, "recorded in entry") == [-signal.SIGKILL]
    assert SECRET in home.decoded()
    assert set(releases.erased(home.ledger, LINE)) == {home.releases[0].release_id}
    assert Suppression.of(home.ledger, SALT).covers(Subject.parse(SUBJECT))


# --- The command line ----------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `erase` on a home that holds the subject in one version; its exit status and what it printed as JSON."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    write(OutsideSystems(PlatformSettings()).warehouse, DATASET, reviews(SECRET, *TEXTS))
    app = typer.Typer()
    app.command()(cli.erase)

    def command(subject: str, *options: str) -> tuple[int, dict[str, object]]:
        arguments = ["--subject", subject, "--by", "grace", "--reason", "request 7", "--json", *options]
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, PlatformError):
            raise result.exception
        return result.exit_code, json.loads(result.stdout)

    return command


def test_the_command_shows_and_then_erases(command):
    """`--dry-run` lists the version; without it the version is gone, and the outcome is a pass."""
    status, plan = command(SUBJECT, "--dry-run")
    assert (status, plan["dry_run"], [each["rows"] for each in plan["versions"]]) == (0, True, [1])
    status, done = command(SUBJECT)
    assert (status, done["outcome"], done["left"]) == (0, "pass", [])
    assert done["versions"] == plan["versions"]
    assert command(SUBJECT, "--dry-run")[1]["versions"] == []


def test_the_command_refuses_a_subject_that_nothing_holds(command):
    """Also as a dry run, which has nothing to show: it says so, and exits with 1."""
    for options in ((), ("--dry-run",)):
        with pytest.raises(ErasureError, match=r"no table and no object holds this review .* never erased"):
            command(review_id("nobody"), *options)


def test_the_command_asks_for_a_namespace(command):
    """64 digits were always a review; any other id alone could be that of several subjects."""
    assert command(f"review:{SUBJECT}", "--dry-run")[1] == command(SUBJECT, "--dry-run")[1]
    with pytest.raises(SubjectError, match=r"write namespace:id, e\.g\. applicant:4711"):
        command("4711", "--dry-run")


def test_the_command_fails_when_something_is_left(command):
    """An object that a person must look at: exit status 1, and it is named."""
    store = OutsideSystems(PlatformSettings()).object_store
    store.put(
        "reports/dev/note", SUBJECT.encode(), gdpr_class="personal", retention_days=1, source_commit="0c0ffee"
    )
    status, done = command(SUBJECT)
    assert (status, done["outcome"], done["left"]) == (1, "error", ["reports/dev/note"])


def test_rows_read_before_an_erasure_are_not_published_after_it(home):
    """A run that held the rows in memory meanwhile is told so, and leaves nothing of the subject behind."""
    held = reviews(SECRET, *TEXTS[:2])
    home.erase()
    staged = write(home.warehouse, DATASET, held, publish=False)
    given = {"namespace": REVIEW, "warehouse": home.warehouse, "ledger": home.ledger, "salt": SALT}

    with pytest.raises(ErasureError, match="1 of 3 rows are about subjects that were erased meanwhile"):
        publish_unless_erased(staged, held["review_id"].to_pylist(), **given)
    home.warehouse.sweep()

    assert_gone(home)
    others = write(home.warehouse, DATASET, reviews(*TEXTS[:2]), publish=False)
    assert publish_unless_erased(others, [None, review_id(TEXTS[0])], **given).published


def test_a_second_erasure_finds_the_models_behind_the_first(home):
    """A model made of a version that was written again since was made of the next subject's rows as well."""
    home.erase()

    plan = home.plan(review_id(TEXTS[0]))

    assert f"{LINE}_model@feed1" in plan.models
    assert home.releases[0].release_id in dict(map(reversed, plan.releases))
