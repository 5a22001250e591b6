"""The events of one entity, one event at a time."""

from collections.abc import Sequence
from operator import index
from typing import Final

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.window_columns import LARGEST_TIME, LARGEST_VALUE, NEVER
from platform_assets.features.window_state import Decided, WindowMemory

Answers = tuple[float | None, ...]
"""One for each of the spec's columns."""
_NAN: Final = float("nan")


class OutOfOrderError(FeatureError):
    """A row of an entity is older than one that came before it."""


class EntityWindow:
    """The events of one entity, to which one after the other is added."""

    __slots__ = ("_ask", "_kernel", "_names", "_record", "_timely", "memories")

    def __init__(
        self, spec: TransformerSpec, decided: Decided, memories: Sequence[WindowMemory] | None = None
    ) -> None:
        from platform_assets.features import window_kernels

        self._kernel = window_kernels.row
        self._ask, self._record = window_kernels.ASK, window_kernels.RECORD
        self._timely = spec.available_column is None
        self._names = spec.columns
        self.memories: Sequence[WindowMemory] = (
            memories if memories is not None else [WindowMemory(decided) for _ in spec.columns]
        )

    @property
    def newest(self) -> int:
        """Time of its newest row; the least int64 if it has none."""
        from platform_assets.features import window_kernels

        return int(self.memories[0].ints[window_kernels.NEWEST_ROW])

    def update(
        self, time_us: int, values: Sequence[float | None], available_us: int | None = None
    ) -> Answers:
        """What a row is given, which is then recorded.

        With includeCurrent it sees itself and the rows of its instant that were recorded before; those of a table see all.
        To have the same, give the rows of an instant to `WindowStream.process` together.

        Args:
            time_us: Microseconds UTC, no earlier than of any row before.
            values: One for each of the spec's columns; None or NaN where there is none.
            available_us: When the values became known; None where nobody knows yet. Only with an availableColumn.

        Raises:
            OutOfOrderError: it is earlier; nothing was recorded.
            FeatureError: a value is infinite, a time is no integer, or there are not as many values as columns; nothing was
                recorded.
        """
        return self._answer(time_us, values, available_us, self._record)

    def observe(self, time_us: int, values: Sequence[float | None], available_us: int | None = None) -> None:
        """Record a row. Arguments and errors as of `update`."""
        self._answer(time_us, values, available_us, self._record)

    def query(self, time_us: int, values: Sequence[float | None], available_us: int | None = None) -> Answers:
        """What `update` would give, recording nothing. Arguments and errors as of `update`."""
        return self._answer(time_us, values, available_us, self._ask)

    def _answer(self, time: int, values: Sequence[float | None], available: int | None, what: int) -> Answers:
        known = time
        if not self._timely:
            known = NEVER if available is None else available
        elif available is not None:
            raise FeatureError("the transformer names no availableColumn; leave the availability out")
        try:
            if not -LARGEST_TIME <= index(time) <= LARGEST_TIME or (
                known is not time and known != NEVER and not -LARGEST_TIME <= index(known) <= LARGEST_TIME
            ):
                raise FeatureError("a time is more than 146,000 years from 1970; give microseconds UTC")
        except TypeError as problem:
            raise FeatureError("a time is no integer; give microseconds UTC") from problem
        given = [_NAN if value is None else float(value) for value in values]
        if len(given) != len(self.memories):
            raise FeatureError(
                f"the row has {len(given)} values, and the transformer {len(self._names)} columns"
                f" ({', '.join(self._names)}); give one for each"
            )
        for number in given:
            if number > LARGEST_VALUE or number < -LARGEST_VALUE:
                raise FeatureError(
                    f"column {self._names[given.index(number)]}: the value is infinite or beyond 1e140; no window has a mean"
                    " with it: give None where nothing was measured"
                )
        answers: list[float | None] = []
        for k, memory in enumerate(self.memories):
            answer = self._kernel(time, known, given[k], what, memory.ints)
            # NaN is no answer, or one that could not be given yet.
            answers.append(
                answer if answer == answer else self._again(memory, time, known, given[k], what)  # noqa: PLR0124
            )
        return tuple(answers)

    def _again(self, memory: WindowMemory, time: int, known: int, value: float, what: int) -> float | None:
        """The answer to a row after one of NaN: None if that was the answer."""
        from platform_assets.features import window_kernels as kernels

        while True:
            match int(memory.ints[kernels.STATUS]):
                case kernels.DONE:
                    return None
                case kernels.TOO_EARLY:
                    raise OutOfOrderError(
                        "the row is earlier than the newest of its entity; rows of an entity come in the order of their"
                        " times: sort them, or start anew from the rows before it"
                    )
                case kernels.NEEDS_COPY:
                    memory, what = memory.copy(), kernels.RECORD
                case _:
                    memory.grow()
            answer = self._kernel(time, known, value, what, memory.ints)
            if answer == answer:  # noqa: PLR0124 - it is not NaN
                return float(answer)
