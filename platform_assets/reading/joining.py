"""Arrow arrays one behind another, where each has the type of its own values."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from platform_assets.reading.values import Room, arrow_array

if TYPE_CHECKING:
    import pyarrow as pa


def joined(chunks: "Sequence[pa.Array]", room: Room) -> "pa.ChunkedArray":
    """One column of all chunks, of the type that all their values have together.

    Args:
        chunks: At least one, as `arrow_array` makes them.
        room: What the names of objects take their cells from.

    Raises:
        UnfitValueError: as `arrow_array`.
    """
    import pyarrow as pa

    kinds = {chunk.type for chunk in chunks} - {pa.null()}
    if len(kinds) > 1:
        return pa.chunked_array([_merged(chunks, room)])
    (kind,) = kinds or {pa.null()}
    return pa.chunked_array(
        [pa.nulls(len(chunk), kind) if chunk.type == pa.null() else chunk for chunk in chunks], kind
    )


def _merged(chunks: "Sequence[pa.Array]", room: Room) -> "pa.Array":
    """Part by part as far as all are objects, or lists: as Python's objects they would take many times as much."""
    import pyarrow as pa

    given = {chunk.type for chunk in chunks}
    kinds = given - {pa.null()}
    # A union lists its types in the order of their values, and null is one.
    if len(kinds) <= 1 and not (len(given) > 1 and any(map(_has_union, kinds))):
        return pa.concat_arrays(joined(chunks, room).chunks)
    if all(map(pa.types.is_struct, kinds)):
        return _structs(chunks, room)
    if all(map(pa.types.is_large_list, kinds)):
        return _lists(chunks, room)
    # Before they are objects, which take more still.
    room.check(len(set(chain.from_iterable(map(_paths, kinds)))), sum(map(len, chunks)))
    return arrow_array(list(chain.from_iterable(chunk.to_pylist() for chunk in chunks)), room)


def _has_union(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_union(kind) or any(_has_union(kind.field(at).type) for at in range(kind.num_fields))


def _paths(kind: "pa.DataType", at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where fields are within."""
    for field in map(kind.field, range(kind.num_fields)):
        yield (*at, field.name)
        yield from _paths(field.type, (*at, field.name))


def _structs(chunks: "Sequence[pa.Array]", room: Room) -> "pa.Array":
    import pyarrow as pa

    is_object = [pa.types.is_struct(chunk.type) for chunk in chunks]
    positions = [
        {field.name: at for at, field in enumerate(chunk.type)} if given else {}
        for chunk, given in zip(chunks, is_object, strict=True)
    ]
    names = list(dict.fromkeys(chain.from_iterable(positions)))
    room.take(len(names), sum(map(len, chunks)))
    children = [
        _merged(
            [
                chunk.field(places[name]) if name in places else pa.nulls(len(chunk))
                for chunk, places in zip(chunks, positions, strict=True)
            ],
            room,
        )
        for name in names
    ]
    return pa.StructArray.from_arrays(children, names, mask=_absent(chunks))


def _lists(chunks: "Sequence[pa.Array]", room: Room) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    given = [chunk for chunk in chunks if pa.types.is_large_list(chunk.type)]
    items = _merged([chunk.values for chunk in given], room)
    lengths = pa.concat_arrays(
        [
            pc.fill_null(pc.list_value_length(chunk), 0)
            if pa.types.is_large_list(chunk.type)
            else pa.repeat(pa.scalar(0, pa.int64()), len(chunk))
            for chunk in chunks
        ]
    )
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, items, mask=_absent(chunks))


def _absent(chunks: "Sequence[pa.Array]") -> "pa.Array":
    import pyarrow as pa

    return pa.concat_arrays([chunk.is_null() for chunk in chunks])
