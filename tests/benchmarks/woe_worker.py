"""Weights of evidence of one table, by one tool, measured from inside: run by each tool's own Python.

    python woe_worker.py TOOL ROWS.parquet WEIGHTS.parquet MOST_BINS

Column `bad` is the target, `number_…` are numbers, `category_…` texts. Writes what each row became, and prints JSON:
processor seconds of the fit and of the transformation alone. What a tool wants its input to be is made before.
"""

import sys
import time
from collections.abc import Callable
from json import dumps
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LEAST_SHARE = 0.05
RARE_SHARE = 0.001
PREBINS = 20

Weigh = Callable[[], pa.Table]
Fit = Callable[[], Weigh]


def _platform_assets(rows: pa.Table, names: list[str], most: int) -> Fit:
    from platform_assets.features import woe_kernels  # noqa: F401 - as a process that has fitted before has them
    from platform_assets.features.transformer_spec import TransformerSpec
    from platform_assets.features.woe import fit_woe

    spec = TransformerSpec.model_validate(
        {
            "inputSource": "rows.parquet",
            "transformerType": "woe",
            "columns": names,
            "target": "bad",
            "woe": {"maxBins": most, "minBinShare": LEAST_SHARE, "rareShare": RARE_SHARE},
        }
    )

    def fit() -> Weigh:
        woe = fit_woe(spec, rows)
        return lambda: woe.transform(rows).rename_columns(names)

    return fit


def _fastbinning(rows: pa.Table, names: list[str], most: int) -> Fit:
    import fastbinning

    # With this upper limit, of those tried, its merging keeps most; without one it makes one bin of nearly all columns.
    settings = {"max_bins": most, "min_bin_pct": LEAST_SHARE, "max_bin_pct": 0.5}
    bad = rows["bad"].to_numpy().astype(np.int32)
    columns = {}
    for name in names:
        if name.startswith("number"):
            columns[name] = rows[name].to_numpy()
        else:
            columns[name] = (
                rows[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
            )

    def fit() -> Weigh:
        fitted = {}
        for name, values in columns.items():
            kind = (
                fastbinning.NumericalBinning if name.startswith("number") else fastbinning.CategoricalBinning
            )
            fitted[name] = kind(**settings)
            fitted[name].fit(values, bad)
        return lambda: pa.table({name: fitted[name].transform(values) for name, values in columns.items()})

    return fit


def _category_encoders(rows: pa.Table, names: list[str], most: int) -> Fit:
    import category_encoders
    import pandas as pd

    frame, bad = rows.select(names).to_pandas(), rows["bad"].to_pandas()
    for name in names:
        if name.startswith("number"):
            # It has no bins of its own.
            frame[name] = pd.qcut(frame[name], most, duplicates="drop").cat.codes.astype(str)

    def fit() -> Weigh:
        encoder = category_encoders.WOEEncoder(cols=names)
        encoder.fit(frame, bad)
        return lambda: pa.Table.from_pandas(encoder.transform(frame), preserve_index=False)

    return fit


def _optbinning(rows: pa.Table, names: list[str], most: int) -> Fit:
    import optbinning

    frame, bad = rows.select(names).to_pandas(), rows["bad"].to_numpy()
    texts = [name for name in names if name.startswith("category")]
    numbers = {"prebinning_method": "quantile", "monotonic_trend": "auto_asc_desc"}

    def fit() -> Weigh:
        process = optbinning.BinningProcess(
            names,
            max_n_prebins=PREBINS,
            min_prebin_size=LEAST_SHARE,
            max_n_bins=most,
            min_bin_size=LEAST_SHARE,
            categorical_variables=texts,
            binning_fit_params={name: numbers for name in names if name not in texts},
        )
        process.fit(frame, bad)
        return lambda: pa.Table.from_pandas(process.transform(frame, metric="woe"), preserve_index=False)

    return fit


TOOLS = {
    "platform-assets": _platform_assets,
    "fastbinning": _fastbinning,
    "category_encoders": _category_encoders,
    "optbinning": _optbinning,
}


def main() -> None:
    """Fit and transform once, and tell what it took."""
    tool, rows_file, weights_file, most = sys.argv[1:]
    rows = pq.read_table(rows_file)
    names = [name for name in rows.column_names if name != "bad"]
    # A small fit first: what is imported or compiled at first use is paid then.
    TOOLS[tool](rows.slice(0, 5_000), names, int(most))()()
    fit = TOOLS[tool](rows, names, int(most))
    begun = time.process_time()
    weigh = fit()
    fitted = time.process_time()
    weights = weigh()
    done = time.process_time()
    if weights.column_names != names:
        raise SystemExit(f"{tool} gave other columns")
    pq.write_table(weights, Path(weights_file), compression="none")
    print(dumps({"fit": fitted - begun, "transform": done - fitted}))


if __name__ == "__main__":
    main()
