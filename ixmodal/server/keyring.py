"""The accepted keys: digests only, read from where the spec says, from files again whenever these change."""

from __future__ import annotations

import hmac
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ixmodal.errors import SpecError
from ixmodal.server.callers import Caller
from ixmodal.server.key_files import KeyFile, KeyFileError, nameless
from ixmodal.spec import App, RateLimit
from ixmodal.spec.keys import (
    DIGEST_PREFIX,
    ENVIRONMENT_PREFIX,
    FILE_PREFIX,
    SECRET_PREFIX,
    ApiKey,
    as_source,
    digest_of,
)
from ixmodal.spec.sources import KEYS_VARIABLE

logger = logging.getLogger("ixmodal.server")
ANONYMOUS = "anonymous"
_CHECK_EVERY = 1.0


class KeyRing:
    """All keys of a spec.

    Files are looked at when a key is checked, once a second at most, by what a symbolic link points to: thus the way
    in which Kubernetes replaces a mounted secret is noticed. A file that can't be used any more leaves the last good
    keys in force.
    """

    def __init__(self, spec: App, environ: Mapping[str, str] | None = None) -> None:
        """Read the keys.

        Raises:
            SpecError: a named variable, secret or file holds no key, or one that can't be used. The server must not
                open up for lack of one.
        """
        self._spec = spec
        self._environ = os.environ if environ is None else environ
        endpoint = spec.endpoint
        paths = dict.fromkeys(s.removeprefix(FILE_PREFIX) for s in endpoint.key_sources if s.startswith(FILE_PREFIX))
        self._files = {path: KeyFile(Path(path).expanduser()) for path in paths}
        self._checked = time.monotonic()
        self._complaint = ""
        self.is_open = not endpoint.key_sources
        """No keys are declared: whoever reaches the server may use it."""
        self.anonymous = Caller(ANONYMOUS, endpoint.rate_limit, is_alone=True)
        self._callers = self._read()

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def names(self) -> list[str]:
        """The callers' names."""
        return list(dict.fromkeys(caller.name for caller in self._callers.values()))

    @property
    def callers(self) -> list[Caller]:
        """All who may call."""
        return [self.anonymous] if self.is_open else list(self._callers.values())

    @property
    def has_admin(self) -> bool:
        """Whether any key is an admin's."""
        return any(caller.is_admin for caller in self._callers.values())

    def find(self, key: bytes) -> Caller | None:
        """Whose key that is. Compares with every digest: neither which fits nor how much of it shows in the time."""
        self.refresh()
        digest = digest_of(key)
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(digest, known):
                found = caller
        return found

    def refresh(self) -> None:
        """Read files that changed. What is wrong with them is logged once and changes nothing."""
        if not self._files or time.monotonic() - self._checked < _CHECK_EVERY:
            return
        self._checked = time.monotonic()
        if not any(file.has_changed() for file in self._files.values()):
            return
        try:
            self._callers = self._read()
        except SpecError as error:
            complaint = "; ".join(error.problems)
            if complaint != self._complaint:
                logger.warning("the API keys stay as they were: %s", complaint)
            self._complaint = complaint
        else:
            self._complaint = ""
            logger.info("API keys were read again: %d keys of %d callers", len(self), len(self.names))

    def _read(self) -> dict[str, Caller]:
        endpoint = self._spec.endpoint
        callers: dict[str, Caller] = {}
        for source in endpoint.api_keys:
            where = f"endpoint.api_keys: {_shown(source)}"
            for entry in self._entries(source, where):
                self._add(callers, entry, [entry.key], where)
        for index, entry in enumerate(endpoint.keys):
            where = f"endpoint.keys.{index}.key: {_shown(entry.key)}"
            self._add(callers, entry, [found.key for found in self._entries(entry.key, where, plain=True)], where)
        return callers

    def _entries(self, source: str, where: str, *, plain: bool = False) -> list[ApiKey]:
        """What a source holds; keys without a name of their own are named by their digests."""
        if source.startswith(FILE_PREFIX):
            try:
                return self._files[source.removeprefix(FILE_PREFIX)].read(plain=plain)
            except KeyFileError as error:
                raise SpecError("the API keys", [f"{where}: {error}"]) from None
        if source.startswith(DIGEST_PREFIX):
            return [nameless(source)]
        name = KEYS_VARIABLE if source.startswith(SECRET_PREFIX) else source.removeprefix(ENVIRONMENT_PREFIX)
        keys = [key.strip() for key in self._environ.get(name, "").split(",") if key.strip()]
        if not keys:
            problem = f"{where}: set the environment variable {name} to one or more keys"
            raise SpecError("the API keys", [problem])
        try:
            return [nameless(as_source(key)) for key in keys]
        except ValueError as error:
            raise SpecError("the API keys", [f"{where}: {error}"]) from None

    def _add(self, callers: dict[str, Caller], entry: ApiKey, digests: Iterable[str], where: str) -> None:
        caller = Caller(entry.name, self._limits(entry), self._models(entry, where), entry.admin)
        if any(other.name == entry.name and other != caller for other in callers.values()):
            problem = f'{where}: another entry has the name "{entry.name}" already; give each its own'
            raise SpecError("the API keys", [problem])
        for digest in digests:
            if callers.setdefault(digest, caller) != caller:
                problem = f"{where}: {caller.name} and {callers[digest].name} have the same key; give each its own"
                raise SpecError("the API keys", [problem])

    def _limits(self, entry: ApiKey) -> RateLimit:
        """Its own limits, and the endpoint's where it has none."""
        default = self._spec.endpoint.rate_limit
        own = {name: getattr(entry, name) for name in RateLimit.model_fields}
        return default.model_copy(update={name: value for name, value in own.items() if value is not None})

    def _models(self, entry: ApiKey, where: str) -> frozenset[str] | None:
        aliases = {alias: model.id for model in self._spec.models for alias in model.aliases}
        known = {model.id for model in self._spec.models} | {agent.id for agent in self._spec.agents}
        ids = [aliases.get(name, name) for name in entry.models]
        if unknown := next((id for id in ids if id not in known), None):
            problem = f'{where}: no model has the id "{unknown}"; there are {", ".join(sorted(known))}'
            raise SpecError("the API keys", [problem])
        return frozenset(ids) or None


def _shown(source: str) -> str:
    """A source in messages: of a digest, its first digits."""
    return f"{source[:15]}…" if source.startswith(DIGEST_PREFIX) else source
