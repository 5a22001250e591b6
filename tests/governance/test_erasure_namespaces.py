"""Erasure by namespace: applicant 4711 goes, patient 4711 stays; what earlier versions wrote is about reviews."""

import io
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.erasure import plan_erasure
from platform_assets.governance.errors import ErasureError, SubjectError
from platform_assets.governance.release import ERASURE
from platform_assets.governance.subject_columns import as_object, subject_of
from platform_assets.governance.subjects import Subject
from platform_assets.governance.suppression import Suppression, publish_unless_erased, salt_check
from resources.row_salt import salted_hash
from tests.governance.eraser import SALT, erase_subject, systems

APPLICANTS, PATIENTS, REVIEWS = "datasets.credit", "datasets.clinic", "datasets.reviews"
SCORES, OTHER_SCORES = "reports/dev/credit/1/scores.parquet", "reports/dev/clinic/1/scores.parquet"
REVIEW_ID = sha256(b"aardvarks dance").hexdigest()


class Home:
    """A warehouse, a store and a ledger, at first empty."""

    def __init__(self, folder):
        self.folder = folder
        self.ledger, self.warehouse, self.store = systems(folder).values()

    def write(self, table, rows, column=None, namespace=None, *, publish=True):
        """A version of a table."""
        rows = pa.table(rows)
        staged = self.warehouse.stage(
            table,
            rows,
            content_hash=content_hash(rows),
            gdpr_class="personal",
            retention_days=30,
            source_commit="0c0ffee",
            subject_column=column,
            subject_namespace=namespace,
        )
        return self.warehouse.publish(staged) if publish else staged

    def read(self, table):
        """What is published, by columns."""
        return self.warehouse.read(table, self.warehouse.current(table).snapshot_id).to_pydict()

    def put(self, key, content):
        """An object."""
        self.store.put(key, content, gdpr_class="personal", retention_days=30, source_commit="0c0ffee")

    def put_table(self, key, rows, column=None, namespace=None):
        """A table as an object, which says whose rows it holds unless it is of an earlier version."""
        if namespace:
            self.put(key, as_object(pa.table(rows), namespace=namespace, column=column))
        else:
            buffer = io.BytesIO()
            pq.write_table(pa.table(rows), buffer)
            self.put(key, buffer.getvalue())

    def rows_of(self, key):
        """The rows of such an object, by columns."""
        return pq.read_table(io.BytesIO(self.store.get(key))).to_pydict()

    def erase(self, subject):
        """Erases it."""
        return erase_subject(self.folder, subject)

    def plan(self, subject):
        """What that would concern."""
        return plan_erasure(Subject.parse(subject), salt=SALT, **systems(self.folder))


@pytest.fixture
def home(tmp_path):
    """Applicant 4711 and patient 4711, in a table and in an object each; an applicant has many rows."""
    home = Home(tmp_path)
    home.write(
        APPLICANTS,
        {"applicant_id": [4711, 4712, 4711, None], "sum": [1, 2, 3, 4]},
        "applicant_id",
        "applicant",
    )
    # The patients' table has a column of the applicants' name, and the other way round.
    home.write(
        PATIENTS, {"patient_id": ["4711", "4712"], "applicant_id": [4711, 4711]}, "patient_id", "patient"
    )
    home.put_table(
        SCORES, {"applicant_id": [4711, 4711, 4712], "patient_id": [1, 2, 4711]}, "applicant_id", "applicant"
    )
    home.put_table(
        OTHER_SCORES, {"patient_id": [4711, 4712], "applicant_id": [4711, 4712]}, "patient_id", "patient"
    )
    return home


# --- Namespaces ----------------------------------------------------------------------------------------


def test_a_subject_of_one_namespace_goes_and_its_namesake_stays(home):
    """All of its rows, of integers and in the object; the other namespace's columns are not even looked at."""
    patients, clinic_scores = home.read(PATIENTS), home.store.get(OTHER_SCORES)

    report = home.erase("applicant:4711")

    assert (report.outcome, report.left) == ("pass", ())
    assert home.read(APPLICANTS) == {"applicant_id": [4712, None], "sum": [2, 4]}
    assert home.rows_of(SCORES) == {"applicant_id": [4712], "patient_id": [4711]}
    assert home.read(PATIENTS) == patients
    assert home.store.get(OTHER_SCORES) == clinic_scores
    evidence = report.verdict.body["evidence"]
    assert (
        evidence["rows_removed"],
        evidence["versions_written_again"],
        evidence["objects_written_again"],
    ) == (4, 1, 1)
    assert evidence["versions_searched"] == 1
    assert report.entry.body["namespace"] == "applicant"
    assert report.entry.subject == Subject("applicant", "4711").hashed(SALT)


def test_the_namesake_can_go_as_well(home):
    """Two erasures, two entries, and each knows its own."""
    home.erase("applicant:4711")
    report = home.erase("patient:4711")
    assert (report.outcome, report.plan.earlier) == ("pass", ())
    assert home.read(PATIENTS) == {"patient_id": ["4712"], "applicant_id": [4711]}
    assert home.rows_of(OTHER_SCORES) == {"patient_id": [4712], "applicant_id": [4712]}
    assert len({entry.subject for entry in home.ledger.entries(kind=ERASURE)}) == 2


def test_every_version_of_a_table_is_searched(home):
    """Also those from before the last, and one that is only staged."""
    home.write(APPLICANTS, {"applicant_id": [4712], "sum": [2]}, "applicant_id", "applicant")
    home.write(
        APPLICANTS, {"applicant_id": [4711, 1], "sum": [5, 6]}, "applicant_id", "applicant", publish=False
    )
    plan = home.plan("applicant:4711")
    assert [(each["table"], each["rows"]) for each in plan.search.versions] == [
        (APPLICANTS, 2),
        (APPLICANTS, 1),
    ]
    assert home.erase("applicant:4711").outcome == "pass"
    ids = [
        home.warehouse.read(APPLICANTS, version.snapshot_id)["applicant_id"].to_pylist()
        for version in home.warehouse.versions(APPLICANTS, unpublished=True)
    ]
    assert ids == [[4712, None], [4712], [1]]


def test_each_version_is_searched_in_its_own_column(home):
    """A key column that was renamed, whose versions of before still hold the applicant under the old name."""
    home.write(APPLICANTS, {"client_no": [4711, 4713], "sum": [5, 6]}, "client_no", "applicant")

    report = home.erase("applicant:4711")

    assert (report.outcome, report.left) == ("pass", ())
    assert report.verdict.body["evidence"]["versions_written_again"] == 2
    before, now = (
        home.warehouse.read(APPLICANTS, version.snapshot_id).to_pydict()
        for version in home.warehouse.versions(APPLICANTS)
    )
    assert before == {"applicant_id": [4712, None], "sum": [2, 4]}
    assert now == {"client_no": [4713], "sum": [6]}


def test_a_refused_version_does_not_change_whose_rows_the_published_ones_hold(home):
    """Staged as another namespace, and never published: the published rows are the applicant's as before."""
    home.write(APPLICANTS, home.read(APPLICANTS), "applicant_id", "client", publish=False)

    report = home.erase("applicant:4711")

    assert (report.outcome, report.left) == ("pass", ())
    assert home.read(APPLICANTS) == {"applicant_id": [4712, None], "sum": [2, 4]}
    assert home.warehouse.staged(APPLICANTS).rows == 4  # are of clients, by their own word
    assert home.erase("client:4711").outcome == "pass"
    assert home.warehouse.staged(APPLICANTS).rows == 2


def test_a_version_without_the_column_that_names_its_subjects_stops_the_search(home):
    """A table of an earlier release names one column for all: whom a version without it holds, nobody knows."""
    properties = {"platform.subject-column": "applicant_id", "platform.subject-namespace": "applicant"}
    write_as_before(home.folder, "datasets.old", {"other": ["4711"]}, properties)
    with pytest.raises(
        SubjectError,
        match=r"table datasets\.old: column applicant_id is said to name a applicant in version",
    ):
        home.erase("applicant:4711")
    assert list(home.ledger.entries(kind=ERASURE)) == []
    assert home.erase("patient:4711").outcome == "pass"


def write_as_before(folder, table, rows, properties):
    """A version of a table as an earlier release wrote it: whose rows it holds, the table alone says."""
    catalog = SqlCatalog(
        "platform", uri=f"sqlite:///{folder / 'catalog.sqlite'}", warehouse=str(folder / "warehouse")
    )
    rows = pa.table(rows)
    written = catalog.create_table(table, schema=rows.schema, properties=properties)
    written.append(rows, snapshot_properties={"platform.content-hash": content_hash(rows)})
    with written.manage_snapshots() as refs:
        refs.create_tag(written.current_snapshot().snapshot_id, f"v-{content_hash(rows)[:16]}")


def test_an_erasure_can_be_asked_for_again_when_all_that_named_its_namespace_is_gone(home):
    """Nothing holds the applicant, and nothing says any more that it could; the second verdict is the same."""
    home.erase("applicant:4711")
    home.store.delete(SCORES)
    home.warehouse.drop(APPLICANTS, [home.warehouse.current(APPLICANTS).snapshot_id])
    assert home.erase("applicant:4711").outcome == "pass"
    with pytest.raises(ErasureError, match="namespaces that are named are: patient"):
        home.plan("applicant:4712")


def test_suppression_knows_namesakes_apart(home):
    """What is read in again is asked for by namespace, whole numbers like texts; other namespaces' fingerprints stay."""
    home.erase("applicant:4711")
    suppression = Suppression.of(home.ledger, SALT)
    assert suppression.covers_each("applicant", [4712, 4711, "4711", None]) == [False, True, True, False]
    assert suppression.covers_each("applicant", [4711.0, float("nan")]) == [True, False]
    assert suppression.covers_each("patient", [4711, "4711"]) == [False, False]
    assert suppression.covers_each("review", ["4711", "applicant:4711"]) == [False, False]
    assert suppression.covers(Subject("applicant", "4711"))
    assert suppression.hash_of("applicant") != ""
    assert (suppression.hash_of("patient"), suppression.hash_of("review")) == ("", "")


@pytest.mark.parametrize(("namespace", "published"), [("applicant", False), ("patient", True)])
def test_publishing_asks_for_the_namespace(home, namespace, published):
    """Rows of the erased one are refused, those of its namesake are not; each of its rows is counted."""
    home.erase("applicant:4711")
    rows = {"id": [4711, 4711, 4712]}
    staged = home.write("datasets.other", rows, "id", namespace, publish=False)
    given = {"namespace": namespace, "warehouse": home.warehouse, "ledger": home.ledger, "salt": SALT}
    if published:
        assert publish_unless_erased(staged, rows["id"], **given).published
    else:
        with pytest.raises(
            ErasureError, match=r"table datasets\.other: 2 of 3 rows are about subjects that were erased"
        ):
            publish_unless_erased(staged, rows["id"], **given)
        assert home.warehouse.versions("datasets.other", unpublished=True) == []


def test_a_refused_publication_leaves_what_is_published_to_the_erasure(home):
    """Equal rows are the published version itself: it stays, with everybody else's rows, until it is written again."""
    rows = home.read(APPLICANTS)
    entry = {"by": "grace", "reason": "7", "versions": [], "objects": [], "releases": [], "models": []}
    body = {"namespace": "applicant", "salt_check": salt_check(SALT)} | entry
    subject = Subject("applicant", "4711").hashed(SALT)
    home.ledger.append(ERASURE, subject, fingerprint="1", body=body)
    staged = home.write(APPLICANTS, rows, "applicant_id", "applicant", publish=False)
    with pytest.raises(ErasureError, match="2 of 4 rows are about subjects that were erased"):
        publish_unless_erased(
            staged,
            rows["applicant_id"],
            namespace="applicant",
            warehouse=home.warehouse,
            ledger=home.ledger,
            salt=SALT,
        )
    assert home.read(APPLICANTS) == rows
    assert home.erase("applicant:4711").outcome == "pass"
    assert home.read(APPLICANTS) == {"applicant_id": [4712, None], "sum": [2, 4]}


def test_a_namespace_that_nothing_knows_is_an_error(home):
    """A slip of the pen must not look like a subject that nobody holds; the known ones are named."""
    with pytest.raises(
        ErasureError, match="names a aplicant; the namespaces that are named are: applicant, patient"
    ):
        home.plan("aplicant:4711")


def test_an_object_alone_can_make_a_namespace_known(tmp_path):
    """Scores may be stored of subjects that no table holds."""
    home = Home(tmp_path)
    home.put_table(SCORES, {"id": ["4711", "4712"]}, "id", "applicant")
    assert home.erase("applicant:4711").outcome == "pass"
    assert home.rows_of(SCORES) == {"id": ["4712"]}


# --- Objects -------------------------------------------------------------------------------------------


def test_a_rewritten_object_still_says_whose_rows_it_holds(home):
    """So that the next erasure finds them in it."""
    home.erase("applicant:4711")
    assert str(subject_of(home.store.get(SCORES))) == "applicant:applicant_id"
    home.erase("applicant:4712")
    assert home.rows_of(SCORES) == {"applicant_id": [], "patient_id": []}


def test_an_object_without_the_column_that_it_names_stops_the_search(home):
    """Nobody knows whom it is about; whoever looks for another namespace is not kept."""
    told = subject_of(home.store.get(SCORES))
    lost = pa.table({"score": [0.5]}).replace_schema_metadata({"platform.subject": str(told)})
    home.put_table(SCORES, lost)
    with pytest.raises(
        ErasureError, match=f"object {SCORES} says that its column applicant_id names a applicant"
    ):
        home.erase("applicant:4711")
    assert list(home.ledger.entries(kind=ERASURE)) == []
    assert home.erase("patient:4711").outcome == "pass"


def test_a_column_that_can_hold_no_ids_stops_the_search(home):
    """Where it is, is told."""
    wrong = pa.table({"id": [0.5]}).replace_schema_metadata({"platform.subject": "applicant:id"})
    home.put_table("reports/dev/wrong", wrong)
    with pytest.raises(SubjectError, match="object reports/dev/wrong: numbers with a fraction"):
        home.plan("applicant:4711")
    home.store.delete("reports/dev/wrong")
    home.write("datasets.wrong", {"id": [0.5]}, "id", "applicant")
    with pytest.raises(SubjectError, match=r"table datasets\.wrong: numbers with a fraction"):
        home.plan("applicant:4711")


def test_a_short_id_is_looked_for_in_columns_only(home):
    """4711 occurs in many a file that has nothing to do with it; an id that is long enough does not."""
    home.put("reports/dev/note.txt", b"4711 times applicant-0123456789")
    assert home.erase("applicant:4711").outcome == "pass"
    assert home.plan("patient:applicant-0123456789").search.mentions == ("reports/dev/note.txt",)


# --- Earlier versions ----------------------------------------------------------------------------------


def test_a_table_without_a_namespace_is_about_reviews(tmp_path):
    """It names its column as before; nobody of another namespace is looked for in it."""
    home = Home(tmp_path)
    home.write(REVIEWS, {"review_id": [REVIEW_ID, "other"]}, "review_id")
    assert home.warehouse.current(REVIEWS).subject_namespace is None
    with pytest.raises(ErasureError, match="namespaces that are named are: review"):
        home.plan(f"applicant:{REVIEW_ID}")
    assert home.erase(REVIEW_ID).outcome == "pass"
    assert home.read(REVIEWS) == {"review_id": ["other"]}


def test_what_says_nothing_of_its_subjects_may_be_about_reviews(home):
    """In a column that names reviews elsewhere, by the long ids that they had; nothing else is looked for there."""
    home.write(REVIEWS, {"review_id": [REVIEW_ID, "17"]}, "review_id", "review")
    old = {"review_id": [REVIEW_ID, "17"], "applicant_id": ["1", "4711"]}
    home.write("datasets.old", old)
    home.put_table("reports/dev/old.parquet", old)

    assert home.erase(f"review:{REVIEW_ID}").outcome == "pass"
    home.erase("applicant:4711")
    home.erase("review:17")

    left = {"review_id": ["17"], "applicant_id": ["4711"]}
    assert (home.read("datasets.old"), home.rows_of("reports/dev/old.parquet")) == (left, left)
    assert home.read(REVIEWS) == {"review_id": []}


def test_an_entry_without_a_namespace_is_about_a_review(home):
    """An erasure that an earlier version recorded still suppresses, and is the earlier one of the same review."""
    home.write(REVIEWS, {"review_id": ["other"]}, "review_id", "review")
    body = {"by": "grace", "reason": "7", "versions": [], "objects": [], "releases": [], "models": []}
    subject = salted_hash(SALT, REVIEW_ID.encode())
    old = home.ledger.append(ERASURE, subject, fingerprint="1", body=body | {"salt_check": salt_check(SALT)})

    suppression = Suppression.of(home.ledger, SALT)

    assert suppression.covers_each("review", [REVIEW_ID, "other"]) == [True, False]
    assert suppression.covers_each("applicant", [REVIEW_ID]) == [False]
    assert home.plan(REVIEW_ID).earlier == (old,)
    assert home.erase(REVIEW_ID).entry == old
