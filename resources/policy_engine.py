"""Policy decisions in this process: the Rego file that guards the S3 server, evaluated by rego-cpp.

rego-cpp needs no server, and forgives too much: a module that is no Rego may load without a word, text
is cut at a NUL, and one interpreter in two threads gives wrong answers. So the engine decides
known cases before it decides any other, takes plain JSON only, and keeps an interpreter for each thread.
Whatever fails is a denial.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from resources.errors import ResourceError

_ENTRYPOINT = "minio/auth/decision"
_DEEPEST = 16
_MOST_VALUES = 2_000
_LARGEST_INTEGER = 2**63

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


class RegoEngine:
    """The policy file, compiled once; may be shared among threads."""

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
            compiler.add_module(file.name, file.read_text(encoding="utf-8"))
            self._bundle = compiler.build(None, (_ENTRYPOINT,))
        except (OSError, UnicodeDecodeError) as problem:
            raise PolicyEngineError(f"policy {file} cannot be read: {problem}") from None
        except regopy.RegoError:
            # Its text is a syntax tree; what a person can read went to standard error already.
            raise PolicyEngineError(f"policy {file} cannot be compiled; see the message above") from None
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
            interpreter = self._interpreter()
            interpreter.set_input(_unquoted(request))
            output = interpreter.query_bundle_entrypoint(self._bundle, _ENTRYPOINT)
            # To touch the output of a failed query would end the process.
            if not output.ok() or not output[0].expressions:
                return Decision(allow=False, reasons=("policy is undefined",))
            found = output[0].expressions[0]
            reasons = tuple(sorted(found["reasons"]))
            if found["allow"] is True and not reasons:
                return Decision(allow=True)
            return Decision(allow=False, reasons=reasons or ("policy gives no reason",))
        except Exception as problem:  # noqa: BLE001 - whatever went wrong, nothing was allowed
            return Decision(
                allow=False, reasons=(f"policy could not be evaluated ({type(problem).__name__})",)
            )

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
