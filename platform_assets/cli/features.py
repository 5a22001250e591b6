"""`platform-assets features …`: a transformer over files, for people who want it and nothing else of the platform."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from platform_assets.cli.common import AsJson, print_json
from platform_assets.cli.usage import examples
from platform_assets.features.errors import FeatureError
from resources.signals import ending

if TYPE_CHECKING:
    from platform_assets.features.fitting import OnProgress
    from platform_assets.features.row_files import RowFiles
    from platform_assets.features.spark_engine import SparkEngine
    from platform_assets.features.transformer import FittedTransformer
    from platform_assets.features.transformer_spec import FeatureTransformer
    from platform_assets.features.woe import Woe

app = typer.Typer(
    no_args_is_help=True, help="Features that transformers make: of files, and fitted versions."
)

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)
_ENDED: Final = (
    "ended before it was done; a file is whole or as it was before, and the same command starts anew"
)
_EACH: Final = "Once for all --features, or for each."
_NONE: Final = "-"
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="The FeatureTransformer.")]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="FILE",
        help="Rows: a Parquet file of any size, a folder of them, a small csv or JSON Lines file, or a URI. "
        "Default: the spec's inputSource.",
    ),
]
Fitted = Annotated[
    Path | None,
    typer.Option(
        "--fitted", metavar="STATE.json", help="What `features fit` wrote. Default: fitted on the input."
    ),
]
MemoryLimit = Annotated[
    str, typer.Option("--memory-limit", metavar="SIZE", help="Of the whole process, e.g. 500MB or 2GB.")
]
EngineName = Annotated[
    Literal["local", "spark"],
    typer.Option(help="What computes: this process, or Spark at PLATFORM_SPARK_REMOTE; with the same bits."),
]
Threads = Annotated[int, typer.Option(min=1, help="With one, nothing happens side by side.")]
Scratch = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where rows are sorted that memory does not hold. Default: beside the output."
    ),
]


@app.command(
    "run",
    epilog=examples(
        "features run delay-zscore.yaml --input flights.parquet --output features.parquet",
        "features run loan-woe.yaml --input loans.parquet --output woe.parquet --fitted state.json",
        "features run delay-zscore.yaml --input flights --output features.parquet --engine spark",
    ),
)
@ending(_ENDED)
def run(
    spec: SpecPath,
    output: Annotated[
        Path, typer.Option(metavar="FILE.parquet", help="The rows with their features; whole or not at all.")
    ],
    source: Input = None,
    fitted: Fitted = None,
    memory_limit: MemoryLimit = "2GB",
    threads: Threads = 2,
    scratch: Scratch = None,
    engine: EngineName = "local",
    as_json: AsJson = False,
) -> None:
    """Add the features of a transformer to the rows of a file.

    Rows of woe stay in their order. Those of zscore and lag come out in the order of entity, time and input; where they
    do not come in so, they are sorted, on disk if memory does not hold them.

    On Spark, rows and order are the same, and the memory limit is that of each of its Python workers, too. Its executors
    have to see input, output and scratch under the same paths.
    """
    from platform_assets.features.engine import run_transformer

    _refuse_target(output, ".parquet", spec, fitted)
    transformer = _transformer(spec)
    state = _state(fitted, transformer)
    limit = _bytes(memory_limit)
    rows = _rows(source, transformer, limit, state)
    with _spark(engine, scratch or output.parent) as spark, _progress() as told:
        done = run_transformer(
            transformer,
            rows,
            output,
            fitted=state,
            memory_limit_bytes=limit,
            threads=threads,
            scratch=scratch,
            on_progress=told,
            spark=spark,
        )
    if as_json:
        print_json({**asdict(done), "ns_a_row": done.ns_a_row, "peak_bytes": _peak_bytes(), "output": output})
        return
    sorting = "" if done.sorting == "not needed" else f"; order: {done.sorting}"
    runs = f" ({done.runs} runs, {done.sort_seconds:.1f} s)" if done.runs else ""
    print(
        f"{output}: {done.rows:,} rows in {done.seconds:.1f} s ({done.ns_a_row:,.0f} ns a row), {_peak()}{sorting}{runs}"
    )
    _print_nulls(done.nulls, done.rows)


@app.command("fit", epilog=examples("features fit loan-woe.yaml --input loans.parquet --output state.json"))
@ending(_ENDED)
def fit(
    spec: SpecPath,
    output: Annotated[Path, typer.Option(metavar="STATE.json", help="What was fitted; whole or not at all.")],
    source: Input = None,
    memory_limit: MemoryLimit = "2GB",
    threads: Threads = 2,
    engine: EngineName = "local",
    as_json: AsJson = False,
) -> None:
    """Fit weights of evidence to the rows of a file: which may be learnt from, so training rows alone.

    Nothing is fitted of zscore and lag: they need no state to begin with.
    """
    from platform_assets.features.engine import fit_to_file
    from platform_assets.features.woe import Woe

    _refuse_target(output, ".json", spec)
    transformer = _transformer(spec)
    _refuse_fit(transformer)
    limit = _bytes(memory_limit)
    rows = _rows(source, transformer, limit)
    with _spark(engine, output.parent) as spark, _progress() as told:
        found = fit_to_file(
            transformer,
            rows,
            output,
            memory_limit_bytes=limit,
            threads=threads,
            on_progress=told,
            spark=spark,
        )
    assert isinstance(found, Woe)
    values = {column.name: column.iv for column in found.columns}
    if as_json:
        print_json(
            {"output": output, "rows": found.rows, "events": found.events, "information_value": values}
        )
        return
    print(f"{output}: fitted to {found.rows:,} rows, {found.events:,} of them events, {_peak()}")
    _print_values(values)


@app.command(
    "join",
    epilog=examples(
        "features join loans.parquet --entity customer --time decided_at --features balances/ --out joined.parquet",
        "features join sales.parquet --entity shop --entity item --time day --features prices/ "
        "--available known_at --out joined.parquet",
    ),
)
@ending(_ENDED)
def join(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS", help="Rows: Parquet of any size, a folder of it, or small csv or JSON Lines."
        ),
    ],
    entity: Annotated[
        list[str],
        typer.Option(metavar="COLUMN", help="Whose a row is, in all files; several name it together."),
    ],
    time: Annotated[
        str, typer.Option(metavar="COLUMN", help="The labels' time, at which features are to be known.")
    ],
    features: Annotated[
        list[Path], typer.Option(metavar="FILE", help="Features, in files as LABELS is; may be given again.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--out", "--output", metavar="FILE.parquet", help="LABELS with features; whole or not at all."
        ),
    ],
    feature_time: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help=f"The time that a row of features is of. Default: --time. {_EACH}"
        ),
    ] = None,
    available: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help=f"When a row of features became available; null: not yet. Default: at its time. {_EACH}",
        ),
    ] = None,
    max_age_days: Annotated[
        list[str] | None,
        typer.Option(metavar="DAYS", help=f"Oldest that a row of features may be. Default: any. {_EACH}"),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help=f"In front of the names of features. Default: none. {_EACH}"),
    ] = None,
    include_current: Annotated[
        bool,
        typer.Option("--include-current", help="What became available at the label's very time counts, too."),
    ] = False,
    memory_limit: MemoryLimit = "2GB",
    threads: Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Add to each row the features that were known at its time.

    That is the newest row of its entity that is of a time before, and was available before. Every row of LABELS comes
    out, in its order, with nulls where nothing was known. Neither side needs an order.
    """
    from platform_assets.features.join_files import FeatureFiles, join_files

    _refuse_target(output, ".parquet")
    files = [
        FeatureFiles(source, of_time or time, known, _days(age), before or "")
        for source, of_time, known, age, before in zip(
            features,
            _for_each(feature_time, features, "--feature-time"),
            _for_each(available, features, "--available"),
            _for_each(max_age_days, features, "--max-age-days"),
            _for_each(prefix, features, "--prefix"),
            strict=True,
        )
    ]
    with _progress() as told:
        done = join_files(
            labels,
            files,
            output,
            entity=entity,
            time_column=time,
            include_current=include_current,
            memory_limit_bytes=_bytes(memory_limit),
            threads=threads,
            on_progress=told,
        )
    if as_json:
        print_json({**asdict(done), "ns_a_row": done.ns_a_row, "peak_bytes": _peak_bytes(), "output": output})
        return
    print(f"{output}: {done.rows:,} rows in {done.seconds:.1f} s ({done.ns_a_row:,.0f} ns a row), {_peak()}")
    for name, found in done.outcomes.items():
        reasons = {
            "no row of the entity": found.no_row,
            "none known yet": found.not_yet,
            "too old": found.too_old,
        }
        because = "".join(f"; {reason}: {count:,}" for reason, count in reasons.items() if count)
        print(f"  {_plain(name)}  known for {found.found:,} ({_share(found.found, done.rows)}){because}")


def _for_each(given: list[str] | None, features: list[Path], option: str) -> list[str | None]:
    """What an option says of each file of features.

    Raises:
        typer.BadParameter: it is given neither once nor as often as files are.
    """
    said = given or [_NONE]
    if len(said) not in {1, len(features)}:
        raise typer.BadParameter(
            f"{option} is given {len(said)} times and --features {len(features)} times; give it once for all, or once for "
            f"each in the same order, {_NONE} for none"
        )
    each = said * len(features) if len(said) == 1 else said
    return [None if value == _NONE else value for value in each]


def _days(said: str | None) -> timedelta | None:
    """An age.

    Raises:
        typer.BadParameter: it is none.
    """
    if said is None:
        return None
    try:
        return timedelta(days=float(said))
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"--max-age-days {said}: write a number of days, e.g. 30 or 0.5") from None


@app.command(
    "explain", epilog=examples("features explain loan-woe.yaml --input loans.parquet --output woe.png")
)
@ending(_ENDED)
def explain(
    spec: SpecPath,
    source: Input = None,
    fitted: Fitted = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="A picture of the weights by bin.")
    ] = None,
    memory_limit: MemoryLimit = "2GB",
    threads: Threads = 2,
    scratch: Scratch = None,
    as_json: AsJson = False,
) -> None:
    """Show what a transformer makes of rows.

    Of woe: bins with rows, share of events, weight and information value. Of zscore and lag: what their windows hold,
    and why values are null.
    """
    if output is not None:
        _refuse_target(output, ".png", spec, fitted)
    transformer = _transformer(spec)
    state = _state(fitted, transformer)
    if state is not None and source is not None:
        raise FeatureError("--fitted and --input: bins are those of one of them; name one")
    limit = _bytes(memory_limit)
    if transformer.spec.transformer_type == "woe":
        _explain_woe(transformer, state, source, output, limit, threads, as_json=as_json)
        return
    if output is not None:
        raise FeatureError(
            f"--output: of {transformer.spec.transformer_type} there is no picture; leave it out"
        )
    _explain_windows(transformer, source, limit, threads, scratch, as_json=as_json)


def _explain_woe(
    transformer: "FeatureTransformer",
    state: "FittedTransformer | None",
    source: str | None,
    picture: Path | None,
    limit_bytes: int,
    threads: int,
    *,
    as_json: bool,
) -> None:
    found = _woe(transformer, state, source, picture, limit_bytes, threads)
    if as_json:
        print_json(
            {
                "rows": found.rows,
                "events": found.events,
                "columns": [column.model_dump(mode="json") for column in found.columns],
                "picture": picture,
            }
        )
        return
    print(f"{transformer.name}: fitted to {found.rows:,} rows, {found.events:,} of them events")
    for column in found.columns:
        names = f"{_plain(column.name)} → {_plain(column.output)}"
        print(f"\n{names}  information value {column.iv:.4f}  {column.direction}")
        labels = [_plain(each.label) for each in column.bins]
        width = max(map(len, labels))
        print(f"  {'':<{width}}  {'rows':>11}  {'share':>6}  {'events':>7}  {'weight':>8}  {'value':>7}")
        for label, each in zip(labels, column.bins, strict=True):
            events = _share(each.events, each.rows) if each.rows else "-"
            print(
                f"  {label:<{width}}  {each.rows:>11,}  {_share(each.rows, found.rows):>6}  {events:>7}"
                f"  {each.woe:>8.4f}  {each.iv:>7.4f}"
            )
    if picture is not None:
        print(f"\n{picture}")


def _woe(
    transformer: "FeatureTransformer",
    state: "FittedTransformer | None",
    source: str | None,
    picture: Path | None,
    limit_bytes: int,
    threads: int,
) -> "Woe":
    """The weights, fitted where they are not yet; and their picture, where one is wanted."""
    from platform_assets.features.engine import fit_rows
    from platform_assets.features.file_output import refuse_overwriting, whole_output
    from platform_assets.features.woe import Woe

    def weights() -> Woe:
        found = state
        if rows is not None:
            with _progress() as told:
                found = fit_rows(
                    transformer, rows, memory_limit_bytes=limit_bytes, threads=threads, on_progress=told
                )
        assert isinstance(found, Woe)
        return found

    rows = _rows(source, transformer, limit_bytes) if state is None else None
    if picture is None:
        return weights()
    from platform_assets.features.woe_pictures import woe_picture

    if rows is not None:
        refuse_overwriting(picture, rows.files, folder=rows.folder)
    # Before anything is fitted: there may be no such place.
    with whole_output(picture) as made:
        found = weights()
        made.incoming.write_bytes(woe_picture(found))
    return found


def _explain_windows(
    transformer: "FeatureTransformer",
    source: str | None,
    limit_bytes: int,
    threads: int,
    scratch: Path | None,
    *,
    as_json: bool,
) -> None:
    from platform_assets.features.window_report import window_report

    rows = _rows(source, transformer, limit_bytes)
    with _progress() as told:
        found = window_report(
            transformer,
            rows,
            memory_limit_bytes=limit_bytes,
            threads=threads,
            scratch=scratch,
            on_progress=told,
        )
    if as_json:
        print_json(asdict(found))
        return
    print(f"{transformer.name}: {found.rows:,} rows of {found.entities:,} entities")
    print(f"  rows of an entity: {found.fewest_rows:,} to {found.most_rows:,}")
    if found.longest_gap_days is not None:
        print(
            f"  days between rows of an entity: {found.mean_gap_days:.3g} on average, {found.longest_gap_days:.3g} at most;"
            f" {found.ties:,} rows are of the same instant as the one before"
        )
    _print_nulls(found.nulls, found.rows)


def _transformer(spec: Path) -> "FeatureTransformer":
    from platform_assets.features.transformer_spec import read_transformer

    return read_transformer(spec).content


def _state(file: Path | None, transformer: "FeatureTransformer") -> "FittedTransformer | None":
    """What was fitted, where it was by the same spec; where the rows come from does not count."""
    if file is None:
        return None
    from platform_assets.features.transformer import read_fitted

    _refuse_fit(transformer)
    try:
        content = file.read_bytes()
    except OSError as problem:
        raise FeatureError(f"{file}: cannot be read ({problem.strerror}); give the path of a state") from None
    try:
        fitted = read_fitted(content)
    except FeatureError as problem:
        raise FeatureError(f"{file}: {problem}") from None
    mine, theirs = transformer.spec.normalised(), fitted.spec.normalised()
    differing = sorted(key for key in {*mine, *theirs} - {"inputSource"} if mine.get(key) != theirs.get(key))
    if differing:
        raise FeatureError(f"{file}: was fitted by another spec ({', '.join(differing)} differ); fit anew")
    return fitted


def _refuse_fit(transformer: "FeatureTransformer") -> None:
    kind = transformer.spec.transformer_type
    if kind != "woe":
        raise FeatureError(
            f"{transformer.name}: nothing is fitted of {kind}: it looks at the rows alone; `features run` needs no state"
        )


def _rows(
    source: str | None,
    transformer: "FeatureTransformer",
    limit_bytes: int,
    fitted: "FittedTransformer | None" = None,
) -> "RowFiles":
    """The rows of a source, or of the spec's own."""
    from platform_assets.features.memory_budget import refuse_too_large
    from platform_assets.features.row_sources import rows_of_source

    if source is not None and not source.strip():
        raise FeatureError("--input: is empty; name a file, or leave it out for the inputSource of the spec")
    source = transformer.spec.input_source if source is None else source
    if "://" not in source:
        refuse_too_large([Path(source)], limit_bytes)
    return rows_of_source(source, transformer.spec, fitted=fitted)


@contextmanager
def _spark(engine: str, scratch: Path) -> "Iterator[SparkEngine | None]":
    """A session of its own, where one is wanted; what Spark has on this machine's disks is in the scratch folder."""
    if engine == "local":
        yield None
        return
    from platform_assets.features.file_output import own_scratch
    from platform_assets.features.spark_engine import SparkEngine
    from resources.settings import PlatformSettings
    from resources.spark import spark_session

    settings = PlatformSettings()
    with (
        own_scratch(scratch) as folder,
        spark_session(settings.spark_remote, folder, pods=settings.spark_pods) as session,
    ):
        yield SparkEngine(session)


def _refuse_target(target: Path, suffix: str, *read: Path | None) -> None:
    """Refuse to write what is read besides the rows, or a file whose name says that it is something else.

    Raises:
        FeatureError: the target is a file that is read.
        typer.BadParameter: its name ends otherwise.
    """
    from platform_assets.features.file_output import refuse_overwriting

    refuse_overwriting(target, [file for file in read if file is not None])
    if target.suffix.lower() != suffix:
        raise typer.BadParameter(f"--output {target}: what is written is {suffix}; let the name end so")


@contextmanager
def _progress() -> "Iterator[OnProgress]":
    """A bar for each thing that is done, where a person looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, rows: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=rows)
            bars.update(tasks[what], completed=done)

        yield told


def _bytes(size: str) -> int:
    """The bytes that a size means.

    Raises:
        typer.BadParameter: it is none.
    """
    found = _SIZE.fullmatch(size.strip())
    if found is None:
        raise typer.BadParameter(f"--memory-limit {size}: write a size, e.g. 500MB or 2GB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def _peak_bytes() -> int:
    """Of this program; what getrusage tells begins with whoever started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _peak() -> str:
    from platform_assets.features.file_output import shown_bytes

    return f"{shown_bytes(_peak_bytes())} of memory at most"


def _plain(text: str) -> str:
    """On one line, without signs that a terminal would take for commands: names come out of files."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.1%}" if rows else "-"


def _print_values(values: dict[str, float]) -> None:
    width = max(len(_plain(name)) for name in values)
    for name, value in sorted(values.items(), key=lambda each: -each[1]):
        print(f"  {_plain(name):<{width}}  information value {value:.4f}")


def _print_nulls(nulls: dict[str, dict[str, int]], rows: int) -> None:
    width = max(len(_plain(name)) for name in nulls)
    for name, because in nulls.items():
        count = sum(because.values())
        reasons = "".join(f"; {reason}: {number:,}" for reason, number in because.items() if number)
        print(f"  {_plain(name):<{width}}  {count:,} null ({_share(count, rows)}){reasons}")
