"""Sheets of images about people: a page of what is left, from which whoever is erased has gone."""

import base64
import io

import pyarrow as pa
import pytest
from PIL import Image

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.access import ACCESS
from platform_assets.governance.subjects import Subject
from platform_assets.governance.suppression import put_unless_erased
from platform_assets.ledger.errors import LedgerError
from platform_assets.sheets import SUFFIX, Sheet
from tests.erasures import erase_subject
from tests.reports.conftest import PNG

KEY = f"reports/dev/line/1/sheet-1{SUFFIX}"
ADA, GRACE = "a" * 64, "b" * 64
PATIENTS = {"namespace": "patient", "column": "patient"}


def png_of(shade: int) -> bytes:
    """A picture that is unlike any of another shade."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, format="png")
    return buffer.getvalue()


def make_sheet(*, named: str = ADA, **patients: list[int]) -> Sheet:
    """Images of these patients, by shade; `ada`, who may be named otherwise, and `grace`."""
    who = {"ada": named, "grace": GRACE}
    rows = [
        {
            "patient": who[name],
            "group": "Missed <here>",
            "caption": f"shade {shade} & more",
            "png": png_of(shade),
        }
        for name, shades in patients.items()
        for shade in shades
    ]
    schema = {"patient": pa.string(), "group": pa.string(), "caption": pa.string(), "png": pa.binary()}
    return Sheet(
        title="What it looks at",
        notes=("Of 60 findings it points at 48.",),
        images=pa.Table.from_pylist(rows, pa.schema(list(schema.items()))),
        measures={"pointing_rate": 0.8},
    )


@pytest.fixture
def put(platform):
    """Stores a sheet as a validation does, beside a dataset of the same patients."""

    def put(sheet: Sheet, gdpr_class: str = "personal") -> None:
        outside = platform.outside
        rows = pa.table({"patient": [ADA, GRACE], "label": [0, 1]})
        staged = outside.warehouse.stage(
            "datasets.line",
            rows,
            content_hash=content_hash(rows),
            gdpr_class="personal",
            retention_days=30,
            source_commit="0c0ffee",
            subject_column="patient",
            subject_namespace="patient",
        )
        outside.warehouse.publish(staged)
        put_unless_erased(
            outside.object_store,
            KEY,
            sheet.as_table(),
            **PATIENTS,
            gdpr_class=gdpr_class,
            retention_days=30,
            source_commit="0c0ffee",
            ledger=outside.ledger,
            salt=outside.salt,
            locks=outside.locks,
        )

    return put


def shown(body: bytes, shade: int) -> bool:
    """Whether the page shows the image of a shade."""
    return base64.b64encode(png_of(shade)) in body


@pytest.mark.parametrize("who", [ADA, "SYN-1"])
def test_an_erasure_takes_a_patients_images_and_leaves_the_page(platform, put, serve, who):
    """By the id that the sheet has, or by the one whose hash that is; no byte of them is left in any file.

    The page opens, shows the others, and says that some are gone.
    """
    named = Subject("patient", who).hashed(platform.outside.salt) if who == "SYN-1" else ADA
    put(make_sheet(ada=[10, 20], grace=[30], named=named))
    server = serve()
    before = server.ask(f"/objects/{KEY}")
    assert before.status == 200
    assert all(shown(before.body, shade) for shade in (10, 20, 30))
    assert b"are no more" not in before.body

    report = erase_subject(platform.outside, "patient", who)

    assert (report.outcome, report.left) == ("pass", ())
    after = server.ask(f"/objects/{KEY}")
    assert after.status == 200
    assert after.headers["etag"] != before.headers["etag"]
    assert [shown(after.body, shade) for shade in (10, 20, 30)] == [False, False, True]
    assert b"2 of 3 images are no more" in after.body
    files = [path for path in platform.home.rglob("*") if path.is_file()]
    left = [path for path in files for shade in (10, 20) if png_of(shade) in path.read_bytes()]
    assert left == []
    kept = Sheet.of_bytes(platform.outside.object_store.get(KEY))
    assert (kept.measures, kept.erased, kept.images["patient"].to_pylist()) == (
        {"pointing_rate": 0.8},
        2,
        [GRACE],
    )


def test_a_sheet_is_a_page_of_the_server(put, serve):
    """Texts are escaped, no id is told, the policy of pages holds, links lead to the front page, and no browser keeps it."""
    put(make_sheet(ada=[10]))
    answer = serve().ask(f"/objects/{KEY}")
    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "style-src 'self'; img-src 'self' data:" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "Missed &lt;here&gt;" in page
    assert "shade 10 &amp; more" in page
    assert "Of 60 findings it points at 48." in page
    assert ADA not in page
    depth = "../" * (KEY.count("/") + 1)
    assert f'href="{depth}style.css"' in page
    assert f'class="home" href="{depth}"' in page


def test_a_sheet_without_images_opens(put, serve):
    """Whoever they showed was erased, or there never was an error."""
    put(make_sheet())
    assert b"There is no image to show." in serve().ask(f"/objects/{KEY}").body


def test_the_policy_is_asked_for_a_sheet(put, platform, serve):
    """As for any object: what is too sensitive for whoever asks is not shown."""
    put(make_sheet(ada=[10]), "sensitive")
    answer = serve().ask(f"/objects/{KEY}")
    assert answer.status == 403
    assert not shown(answer.body, 10)


@pytest.mark.parametrize("content", [PNG, b"PAR1 and nothing else"])
def test_what_is_no_sheet_is_told_and_not_shown(platform, serve, content):
    """By its name alone it would be one."""
    platform.put(KEY, content)
    answer = serve().ask(f"/objects/{KEY}")
    assert answer.status == 500
    assert b"This sheet cannot be shown: the object is no table of images." in answer.body


def test_a_table_of_other_things_is_no_sheet(platform, serve):
    """Scores under the name of a sheet stay unread."""
    from platform_assets.governance.subject_columns import as_object

    platform.put(KEY, as_object(pa.table({"patient": [ADA]}), **PATIENTS))
    answer = serve().ask(f"/objects/{KEY}")
    assert answer.status == 500
    assert ADA.encode() not in answer.body


def test_who_looks_at_a_sheet_is_recorded_first(put, platform, serve):
    """One entry names all whom it shows, by salted hashes; the same look within the hour adds none."""
    put(make_sheet(ada=[10, 20], grace=[30]))
    server = serve()
    for _ in range(2):
        assert server.ask(f"/objects/{KEY}").status == 200
    (entry,) = platform.outside.ledger.entries(kind=ACCESS)
    salt = platform.outside.salt
    assert entry.subject == KEY
    assert entry.body["objects"] == sorted(Subject("patient", who).hashed(salt) for who in (ADA, GRACE))
    assert (entry.body["purpose"], entry.body["outcome"]) == ("sheet of errors", "shown")
    assert ADA not in entry.raw.decode()


def test_what_cannot_be_recorded_is_not_shown(put, platform, serve, monkeypatch):
    """Where the ledger cannot be written, the page says so, and shows nobody."""
    put(make_sheet(ada=[10]))
    server = serve()

    def refuse(*args: object, **kwargs: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(platform.outside.ledger, "append", refuse)
    answer = server.ask(f"/objects/{KEY}")
    assert answer.status == 503
    assert not shown(answer.body, 10)
