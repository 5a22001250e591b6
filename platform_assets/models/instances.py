"""What somebody asks a model about, before any task looks at it."""

from collections.abc import Sequence

from pydantic import JsonValue

from platform_assets.models.errors import InstanceError
from resources.texts import is_text, quoted


def refuse_untexts(instances: Sequence[JsonValue]) -> None:
    """Nothing, where every string in every instance is a text; JSON can spell strings that are none.

    Raises:
        InstanceError: One is not; the message names its place and column.
    """
    for at, instance in enumerate(instances, start=1):
        _refuse(instance, f"instance {at}: ")


def _refuse(value: JsonValue, place: str) -> None:
    if isinstance(value, str) and not is_text(value):
        raise InstanceError(
            f"{place}{quoted(value)} holds half of a surrogate pair, which is no text; write the whole character"
        )
    if isinstance(value, dict):
        for name, each in value.items():
            _refuse(name, f"{place}column ")
            _refuse(each, f"{place}column {name}: ")
    if isinstance(value, list):
        for each in value:
            _refuse(each, place)
