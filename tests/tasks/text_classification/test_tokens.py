"""Tokens: long texts keep their head and their tail, and the tokenizer has an identity."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.features.errors import FeatureError
from platform_assets.tasks.text_classification.tokens import load_tokenizer, token_features

CLS, SEP = 101, 102
WORDS = ["film", "wonderful", "awful", "unwatchable", "the", "!", "Kieślowski", "naïve", "映画"]


@pytest.fixture(scope="module")
def tokenizer_of(encoder):
    """Builds a tokenizer on the real vocabulary."""
    loaded = load_tokenizer(encoder, max_length=16, head_fraction=0.25)

    def tokenizer_of(*, max_length: int = 16, head_fraction: float = 0.25):
        return type(loaded)(loaded.tokenizer, max_length, head_fraction, loaded.prefix, loaded.suffix)

    return tokenizer_of


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=60),
    max_length=st.integers(8, 48),
    head_fraction=st.floats(0, 1),
)
def test_a_long_text_keeps_head_and_tail(tokenizer_of, words, max_length, head_fraction):
    """A text that fits is whole; another is cut in its middle, to exactly max_length, in the share asked for."""
    text = " ".join(words)
    whole = tokenizer_of(max_length=4096).encode([text])[0][0]
    (ids,), (length,) = tokenizer_of(max_length=max_length, head_fraction=head_fraction).encode([text])
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert length == len(whole) - 2
    if len(whole) <= max_length:
        assert ids == whole
    else:
        assert len(ids) == max_length
        head = int((max_length - 2) * head_fraction)
        tail = max_length - 2 - head
        assert ids[1 : 1 + head] == whole[1 : 1 + head]
        assert ids[1 + head : -1] == whole[len(whole) - 1 - tail : -1]


def test_the_ids_are_those_of_the_model(tokenizer_of):
    """Special tokens, case folding and numbers of the vocabulary are the model's own."""
    ids, lengths = tokenizer_of().encode(["Hello world!", ""])
    assert ids == [[CLS, 7592, 2088, 999, SEP], [CLS, SEP]]
    assert lengths == [3, 0]
    assert tokenizer_of().pad_id == 0


def test_no_texts_are_no_tokens(tokenizer_of):
    """An empty batch is answered with an empty one."""
    assert tokenizer_of().encode([]) == ([], [])


def test_the_identity_follows_what_decides_the_tokens(tokenizer_of):
    """Maximum length and head share change the identity; using the tokenizer does not."""
    tokenizer = tokenizer_of()
    identity = tokenizer.sha256
    tokenizer.encode(["film " * 600])
    tokenizer.tokenizer(["film", "film film"], padding=True, truncation=True, max_length=8)
    tokenizer.encode(["film"])
    assert tokenizer.sha256 == identity == tokenizer_of().sha256
    assert len({identity, tokenizer_of(max_length=17).sha256, tokenizer_of(head_fraction=0.5).sha256}) == 3


def test_a_saved_tokenizer_is_the_same(tokenizer_of, tmp_path):
    """Saved with a model and loaded again, it has the same identity and cuts the same tokens."""
    texts = ["A naïve film!" * 20, "awful"]
    tokenizer = tokenizer_of()
    tokenizer.tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path), max_length=16, head_fraction=0.25)
    assert loaded.sha256 == tokenizer.sha256
    assert loaded.encode(texts) == tokenizer.encode(texts)


def test_features_keep_the_order_and_leave_the_reserve_out(tokenizer_of):
    """One row for each row that is trained or measured on, in order, with lengths before the cut."""
    splits = ["train", "reserve", "test", "shift", "validation", "train"]
    texts = [f"{'very ' * (5 * row)}good" for row in range(6)]
    rows = pa.table(
        {
            "review_id": [str(row) for row in range(6)],
            "text": texts,
            "label": pa.array([0, 1] * 3, pa.int32()),
            "source": ["imdb"] * 6,
            "split": splits,
        }
    )
    features = token_features(rows, tokenizer_of())
    assert features["review_id"].to_pylist() == ["0", "2", "3", "4", "5"]
    assert features["split"].to_pylist() == [split for split in splits if split != "reserve"]
    assert features["label"].to_pylist() == [0, 0, 1, 0, 1]
    assert features["words"].to_pylist() == features["tokens"].to_pylist() == [1, 11, 16, 21, 26]
    assert [len(ids) for ids in features["token_ids"].to_pylist()] == [3, 13, 16, 16, 16]
    assert features.schema.field("token_ids").type == pa.list_(pa.int32())
    assert len(token_features(rows.slice(1, 1), tokenizer_of())) == 0


@pytest.mark.parametrize("location", ["/no/such/folder", "no-such-organisation/no-such-model"])
def test_a_place_without_a_tokenizer_is_an_error(location):
    """Neither a folder nor a model of the hub: the name is told, and what to give."""
    with pytest.raises(FeatureError, match=f"^model_name {location}: no tokenizer can be loaded"):
        load_tokenizer(location, max_length=16, head_fraction=0.25)
