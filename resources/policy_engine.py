"""Policy decisions in this process: the Rego file that guards the S3 server, evaluated by rego-cpp.

rego-cpp needs no server, and forgives too much: a module that is no Rego may load without a word, text
is cut at a NUL, and one interpreter in two threads gives wrong answers. So the engine decides
known cases before it decides any other, takes plain JSON only, and keeps an interpreter for each thread.
Whatever fails is a denial.

A policy that looks at nothing but the request decides equal requests alike, so each engine remembers what the one
policy that it compiled has decided.
"""

import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import orjson

from resources.errors import ResourceError

_ENTRYPOINT = "minio/auth/decision"
_DEEPEST = 16
_MOST_VALUES = 2_000
_LARGEST_INTEGER = 2**63
_REMEMBERED_DECISIONS = 4_096
_LARGEST_REMEMBERED_BYTES = 2_048
_IMPURE = re.compile(r"\b(time|rand|uuid|http|net|opa|io|crypto|data)\s*\.")
"""What a policy would have to write to know of anything else than the request: the clock, chance, the network, data."""

_REQUEST: dict[str, Any] = {
    "method": "GET",
    "path": "/models/prod/line/1/model.json",
    "user": {
        "groups": ["ml-engineers"],
        "roles": ["trainer"],
        "labels": {"env": "prod", "region": "cn-shanghai"},
        "consent": {"gdpr": True},
    },
    "object": {"gdpr_class": "internal", "region": "cn-shanghai"},
}
_S3_REQUEST: dict[str, Any] = {
    "groups": ["ml-engineers"],
    "action": "s3:GetObject",
    "bucket": "models",
    "object": "prod/line/1/model.json",
    "owner": True,
    "claims": {"env": "prod", "consent": True, "roles": []},
    "conditions": {},
}
_KNOWN_CASES: tuple[tuple[bool, dict[str, Any]], ...] = (
    (True, _REQUEST),
    (True, _REQUEST | {"method": "PUT"}),
    (True, _S3_REQUEST),
    (False, {}),
    (False, _REQUEST | {"path": "/models/dev/line/1/model.json"}),
    (False, _REQUEST | {"path": "/models/prod/../dev/model.json"}),
    (False, _REQUEST | {"user": _REQUEST["user"] | {"consent": {"gdpr": False}}}),
    (False, _REQUEST | {"object": {"gdpr_class": "internal", "region": "eu-west"}}),
    (False, _REQUEST | {"object": {"gdpr_class": "secret"}}),
    (False, _REQUEST | {"user": _REQUEST["user"] | {"groups": []}}),
    (False, _REQUEST | {"user": _REQUEST["user"] | {"roles": []}, "method": "DELETE"}),
    (False, _REQUEST | {"object": {"gdpr_class": "sensitive"}}),
    (False, _S3_REQUEST | {"action": "s3:DeleteObject"}),
    (False, _S3_REQUEST | {"groups": None}),
    (False, _S3_REQUEST | {"groups": ['"ml-engineers"']}),
    (False, _S3_REQUEST | {"groups": None, "conditions": {"groups": ["ml-engineers"]}}),
    (False, _S3_REQUEST | {"conditions": {"env": ["prod", "dev"]}}),
    (False, _S3_REQUEST | {"claims": _S3_REQUEST["claims"] | {"sessionPolicy": "eyJ9"}}),
)
"""What any fit policy decides, and how."""


class PolicyEngineError(ResourceError):
    """The policy cannot be loaded, or does not decide known cases as it must."""


@dataclass(frozen=True)
class Decision:
    """Whether a request is allowed, and if not, why."""

    allow: bool
    reasons: tuple[str, ...] = ()


class PolicyEngine(Protocol):
    """Decides requests of either form that the policy file describes. Never raises: doubt is a denial."""

    def decide(self, request: Mapping[str, Any]) -> Decision:
        """Whether the request is allowed; a denial carries at least one reason."""
        ...


def policy_file() -> Path:
    """The policy of this checkout, or the copy that an installed wheel carries.

    Raises:
        PolicyEngineError: There is neither.
    """
    here = Path(__file__).resolve().parent
    for folder in (here.parent, here):
        file = folder / "k8s" / "policy" / "minio_authz.rego"
        if file.is_file():
            return file
    raise PolicyEngineError(
        f"there is no k8s/policy/minio_authz.rego in {here.parent} or {here}; install again"
    )


class _UndecidedError(Exception):
    """The policy gave no answer."""


class RegoEngine:
    """The policy file, compiled once; may be shared among threads."""

    remembers: bool
    """Whether equal requests are decided once: not where the policy may look at something else."""

    def __init__(self, file: Path | None = None) -> None:
        """Compiles the policy and tests it.

        Args:
            file: Another policy than the platform's own.

        Raises:
            PolicyEngineError: It cannot be read or compiled, or a known case is decided wrongly.
        """
        import regopy

        file = file or policy_file()
        self._threads = threading.local()
        compiler = regopy.Interpreter()
        try:
            text = file.read_text(encoding="utf-8")
            compiler.add_module(file.name, text)
            self._bundle = compiler.build(None, (_ENTRYPOINT,))
        except (OSError, UnicodeDecodeError) as problem:
            raise PolicyEngineError(f"policy {file} cannot be read: {problem}") from None
        except regopy.RegoError:
            # Its text is a syntax tree; what a person can read went to standard error already.
            raise PolicyEngineError(f"policy {file} cannot be compiled; see the message above") from None
        self.remembers = not _IMPURE.search(text)
        # Its lock is the interpreter's own, so that a fork cannot leave it held.
        self._remembered = lru_cache(maxsize=_REMEMBERED_DECISIONS)(self._evaluated)
        for expected, request in _KNOWN_CASES:
            decision = self.decide(request)
            if decision.allow is not expected:
                raise PolicyEngineError(
                    f"policy {file} {'denies' if expected else 'allows'} what it must not "
                    f"{(*decision.reasons,)}: {request}; nothing is decided by it"
                )

    def decide(self, request: Mapping[str, Any]) -> Decision:
        """See `PolicyEngine.decide`."""
        try:
            if not _is_plain(request):
                return Decision(allow=False, reasons=("request is not plain JSON of moderate size",))
            # As text, because true is 1 and 1 is 1.0 for a dictionary, and not for a policy.
            asked = orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
            if self.remembers and len(asked) <= _LARGEST_REMEMBERED_BYTES:
                return self._remembered(asked)
            return self._evaluated(asked)
        except _UndecidedError:
            return Decision(allow=False, reasons=("policy is undefined",))
        except Exception as problem:  # noqa: BLE001 - whatever went wrong, nothing was allowed
            return Decision(
                allow=False, reasons=(f"policy could not be evaluated ({type(problem).__name__})",)
            )

    def _evaluated(self, asked: bytes) -> Decision:
        interpreter = self._interpreter()
        interpreter.set_input(_unquoted(orjson.loads(asked)))
        output = interpreter.query_bundle_entrypoint(self._bundle, _ENTRYPOINT)
        # To touch the output of a failed query would end the process.
        if not output.ok() or not output[0].expressions:
            raise _UndecidedError
        found = output[0].expressions[0]
        reasons = tuple(sorted(found["reasons"]))
        if found["allow"] is True and not reasons:
            return Decision(allow=True)
        return Decision(allow=False, reasons=reasons or ("policy gives no reason",))

    def _interpreter(self) -> Any:
        import regopy

        if not hasattr(self._threads, "interpreter"):
            self._threads.interpreter = regopy.Interpreter()
        return self._threads.interpreter


def _unquoted(value: Any) -> Any:
    """The value with its double quotes made single: rego-cpp takes a text in quotes, or a name, for the one without."""
    match value:
        case str():
            return value.replace('"', "'")
        case list():
            return [_unquoted(item) for item in value]
        case dict():
            return {_unquoted(name): _unquoted(item) for name, item in value.items()}
    return value


def _is_plain(request: object) -> bool:
    """Whether rego-cpp will see this value as it is: JSON, no text with a NUL, not deep, not large."""
    level, seen = [request], 0
    for _ in range(_DEEPEST):
        below: list[object] = []
        for value in level:
            if isinstance(value, str):
                if "\0" in value:
                    return False
                value.encode()  # raises for half of a surrogate pair
            elif isinstance(value, dict):
                if not all(isinstance(name, str) for name in value):
                    return False
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, float):
                if not math.isfinite(value):
                    return False
            elif isinstance(value, int):
                if not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
                    return False
            elif value is not None:
                return False
        seen += len(below)
        if not below:
            return True
        if seen > _MOST_VALUES:
            return False
        level = below
    return False
