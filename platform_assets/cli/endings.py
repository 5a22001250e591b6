"""How every command ends: one sentence and an exit status, whatever it was that ended it.

| status | what happened |
|---|---|
| 0 | it is done |
| 1 | an error that we foresaw, told in one sentence |
| 2 | wrong usage, an argument that is no text among it |
| 128 + n | signal n: 130 for Ctrl-C, 143 for SIGTERM, 141 where nobody reads its output any more |

What is none of these is a bug and keeps its traceback.
"""

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableSettingsError

from resources.errors import PlatformError
from resources.outages import outage_of
from resources.settings import LockSettings, PlatformSettings
from resources.signals import Ended, heeded, name_of, status_of, told_to_end
from resources.texts import is_text, quoted, without_long_words

_ERROR: Final = 1
_USAGE: Final = 2
_SETTINGS: Final = "PLATFORM_"
_SETTINGS_CLASSES: Final = {each.__name__ for each in (LockSettings, PlatformSettings)}


class ArgumentError(PlatformError):
    """An argument, or a setting, is no text."""


def end_well(command: Callable[[], object]) -> int:
    """The exit status of a command, once a person has been told what ended it.

    Args:
        command: Reads `sys.argv`; may end by `SystemExit`, as Typer's do.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that cannot show all that we print
    with heeded():
        try:
            refuse_undecodable(sys.argv[1:], os.environ)
            status = _status_of(command)
            # Here: when Python flushes it at its end, nobody tells what is wrong with it.
            print(end="", flush=True)
        except ArgumentError as problem:
            return _told(f"error: {problem}", _USAGE)
        except (ValidationError, UnreadableSettingsError) as problem:
            if not _is_of_settings(problem):
                raise
            return _told(f"error: {settings_problem(problem)}", _USAGE)
        except PlatformError as problem:
            number = told_to_end()
            foreseen = outage_of(problem) or problem
            return _told(f"error: {foreseen}", _ERROR if number is None else status_of(number))
        except BaseException as problem:
            if (number := told_to_end()) is not None:
                return _told(_ending(problem, number), status_of(number))
            if outage := outage_of(problem):
                status = _told(f"error: {outage}", _ERROR)
                _drop_output()  # it may be what has no space
                return status
            if isinstance(problem, OSError):
                return _outside(problem)
            raise
        return status


def refuse_undecodable(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Nothing, where all arguments and settings are texts.

    Python hands on bytes that the locale cannot decode as halves of surrogate pairs. No file of ours, no table and no
    database can hold those, so they would come up as an error of some library, far from where they were written.

    Raises:
        ArgumentError: One is not; it is named, with its bytes.
    """
    named = [(f"argument {at}", text) for at, text in enumerate(arguments, start=1)]
    named += [(name, value) for name, value in environment.items() if name.startswith(_SETTINGS)]
    for name, text in named:
        if not is_text(text):
            raise ArgumentError(
                f"{name} is no text in {sys.getfilesystemencoding().upper()}: {quoted(text)}; write it in that encoding, and "
                "rename a file that is called so"
            )


def _is_of_settings(problem: ValueError) -> bool:
    return not isinstance(problem, ValidationError) or problem.title in _SETTINGS_CLASSES


def settings_problem(problem: ValueError) -> str:
    """What is wrong with which variable; never its value, which may be a secret."""
    if not isinstance(problem, ValidationError):
        return f"{problem}; it is to be JSON"
    return "; ".join(
        f"{_SETTINGS}{'__'.join(map(str, each['loc'])).upper()}: {each['msg'].removeprefix('Value error, ')}"
        for each in problem.errors(include_url=False, include_input=False, include_context=False)
    )


def _status_of(command: Callable[[], object]) -> int:
    try:
        command()
    except Ended:
        raise
    except SystemExit as ended:
        # Typer makes a silent 1 of every broken pipe, also of one to a server.
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _ending(problem: BaseException, number: int) -> str:
    """Whatever comes up after a signal comes of it."""
    if isinstance(problem, Ended) and problem.told:
        return f"{name_of(number)}: {problem.told}"
    return (
        f"error: ended by {name_of(number)} before it was done; what it had finished stays, and the same "
        "command goes on from there"
    )


def _outside(problem: OSError) -> int:
    """For what the operating system refuses: a file, the terminal, or whoever reads what is printed."""
    if problem.errno == errno.EPIPE and _nobody_reads():
        _drop_output()
        return status_of(signal.SIGPIPE)
    if isinstance(problem.filename, str | bytes):
        return _told(f"error: {quoted(os.fsdecode(problem.filename))}: {problem.strerror}", _ERROR)
    raise problem


def _nobody_reads() -> bool:
    with suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def _drop_output() -> None:
    """What is left in the buffer has nowhere to go; Python would complain of it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(sentence: str, status: int) -> int:
    with suppress(OSError):
        print(end="", flush=True)
    with suppress(OSError):
        print(without_long_words(sentence), file=sys.stderr)
    return status
