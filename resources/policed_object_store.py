"""An object store that asks the policy before every access."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from resources.object_store import (
    GdprClass,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
    checked_key,
)
from resources.policy_engine import Decision, PolicyEngine
from resources.settings import Principal

_KINDS = ("cards", "datasets", "models", "reports")

DenialRecorder = Callable[[Mapping[str, Any], Decision], None]
"""Told of each request that was denied, and why; never raises."""


class AccessDeniedError(ObjectStoreError):
    """The policy does not let this principal do this."""

    def __init__(self, request: Mapping[str, Any], decision: Decision) -> None:
        self.reasons = decision.reasons
        super().__init__(
            f"{request['user']['name']} may not {request['method']} object {request['path'].lstrip('/')}: "
            f"{'; '.join(decision.reasons)}; ask whoever grants groups, roles and labels (PLATFORM_PRINCIPAL__…)"
        )


class PolicedObjectStore:
    """See `ObjectStore`. Whatever the policy denies raises AccessDeniedError, and is told to `on_denial`.

    Objects are judged by the class and region that they carry. Objects that do not exist, lists and
    addresses are judged by their path alone.
    """

    def __init__(
        self, store: ObjectStore, engine: PolicyEngine, principal: Principal, *, on_denial: DenialRecorder
    ) -> None:
        self._store = store
        self._engine = engine
        self._on_denial = on_denial
        self._env = principal.labels.env
        self._user = {
            "name": principal.user,
            "groups": list(principal.groups),
            "roles": list(principal.roles),
            "labels": principal.labels.model_dump(),
            "consent": {"gdpr": principal.consent},
        }

    def put(
        self,
        key: str,
        content: bytes | Path,
        *,
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
        region: str | None = None,
    ) -> ObjectInfo:
        """See `ObjectStore.put`; both the new object and one that it replaces must be allowed."""
        self._ask("PUT", key, gdpr_class, region)
        with suppress(ObjectMissingError):
            self._described("PUT", key)
        return self._store.put(
            key,
            content,
            gdpr_class=gdpr_class,
            retention_days=retention_days,
            source_commit=source_commit,
            region=region,
        )

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        self._described("GET", key)
        return self._store.get(key)

    def info(self, key: str) -> ObjectInfo:
        """See `ObjectStore.info`."""
        return self._described("HEAD", key)

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        try:
            self._described("HEAD", key)
        except ObjectMissingError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """See `ObjectStore.list`; a prefix that names no environment stands for the principal's own."""
        if "/" in prefix:
            prefixes = [prefix]
        else:
            prefixes = [f"{kind}/{self._env}" for kind in ([prefix] if prefix else _KINDS)]
        for each in prefixes:
            self._ask("GET", each)
        return (key for each in prefixes for key in self._store.list(each))

    def folder(self, prefix: str) -> Path:
        """See `ObjectStore.folder`; denied where any object of it is."""
        self._ask("GET", prefix)
        allowed = set()
        for key in self._store.list(prefix):
            info = self._store.info(key)
            # The policy looks at the environment, the class and the region: equal ones need one decision.
            if (carried := (info.gdpr_class, info.region)) not in allowed:
                self._ask("GET", key, *carried)
                allowed.add(carried)
        return self._store.folder(prefix)

    def uri(self, key: str) -> str:
        """See `ObjectStore.uri`."""
        with suppress(ObjectMissingError):
            self._described("HEAD", key)
        return self._store.uri(key)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._described("DELETE", key)
        self._store.delete(key)

    def set_legal_hold(self, key: str, *, held: bool) -> ObjectInfo:
        """See `ObjectStore.set_legal_hold`."""
        self._described("PUT", key)
        return self._store.set_legal_hold(key, held=held)

    def sweep(self) -> int:
        """See `ObjectStore.sweep`; what it removes was never an object, so nobody is asked."""
        return self._store.sweep()

    def _described(self, method: str, key: str) -> ObjectInfo:
        """What the object carries, once its principal may use it so."""
        try:
            info = self._store.info(key)
        except ObjectMissingError:
            self._ask(method, key)  # or whoever may not read it would learn that it is not there
            raise
        self._ask(method, key, info.gdpr_class, info.region)
        return info

    def _ask(self, method: str, key: str, gdpr_class: str | None = None, region: str | None = None) -> None:
        request = {
            "method": method,
            "path": f"/{checked_key(key)}",
            "user": self._user,
            "object": {"gdpr_class": gdpr_class, "region": region},
        }
        decision = self._engine.decide(request)
        if not decision.allow:
            self._on_denial(request, decision)
            raise AccessDeniedError(request, decision)
