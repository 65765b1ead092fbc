"""Which deployments run: asked for by the settings file and by REST, checked, stored, and handed to the fleet."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from backends.deployment import Deployment
from gateway import checks, drafts
from gateway.fleet.checking import DeploymentRefused, about_last, names_in_use, parsed
from gateway.fleet.fleet import Fleet, UnknownDeployment
from gateway.fleet.group import id_of
from gateway.fleet.settings_again import deployments_of, needing_restart, read_again
from gateway.fleet.store import DeploymentStore, Row
from gateway.fleet.wanted import Entry, Unusable, Wanted, merged, spec_of, wanted
from gateway.settings import Settings, SettingsInvalid

log = logging.getLogger(__name__)


class NotByRest(Exception):
    """What the settings file wants ends there."""


class Taken(Exception):
    """There is a deployment of this name."""


class Deployments:
    """What should run on this machine. Each change is checked, then stored, then carried out in the background.

    *settings* are those of the start; *environment* holds the `GATEWAY_…` names by which they are read again.
    """

    def __init__(
        self, fleet: Fleet, store: DeploymentStore, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self.fleet = fleet
        self.store = store
        self.settings = settings
        self.environment = environment
        self.file = deployments_of(settings)
        self.wanted = Wanted(())
        self._one_at_a_time = asyncio.Lock()

    @property
    def where(self) -> str:
        """Where the deployments of the settings stand."""
        return str(self.settings.config or "the settings (`deployments`)")

    async def open(self) -> None:
        """Begin with what the settings and the database want; what cannot run beside the others is left out."""
        async with self._one_at_a_time:
            self.wanted = await self._sound(wanted(self.file, await self.store.rows()))
            await self._drop(self.wanted)
            self._apply()

    def entry(self, id_: str) -> Entry:
        """Return one that should run. Raises `UnknownDeployment`."""
        for entry in self.wanted.entries:
            if entry.id == id_:
                return entry
        raise UnknownDeployment(f"There is no deployment `{id_[:64]}`.")

    async def add(self, spec: Mapping[str, Any], who: str) -> Entry:
        """Have one more run. Raises `DeploymentRefused` and `Taken`."""
        async with self._one_at_a_time:
            deployment = parsed(spec)
            if any(entry.id == id_of(deployment.model) for entry in self.wanted.entries):
                raise Taken(f"There is a deployment of `{deployment.model}`.")
            await self._check(deployment, self.wanted.entries)
            await self.store.put(Row(id_of(deployment.model), deployment.model, spec_of(deployment), None), who)
            return self._take(Entry(deployment, "rest"))

    async def change(self, id_: str, changes: Mapping[str, Any], who: str) -> Entry:
        """Have one run in another way. Raises `UnknownDeployment` and `DeploymentRefused`."""
        async with self._one_at_a_time:
            before = self.entry(id_)
            deployment = parsed(merged(before.deployment, changes))
            if deployment.model != before.deployment.model:
                raise DeploymentRefused([("model", "is what it is known by; add another one instead")])
            await self._check(deployment, [entry for entry in self.wanted.entries if entry.id != id_])
            base = before.base or (before.deployment if before.origin == "file" else None)
            entry = Entry(deployment, before.origin, base)
            if base is not None and not entry.changes():
                await self.store.remove(id_)
                return self._take(Entry(base, "file"))
            said = spec_of(base) if base is not None else None
            await self.store.put(Row(id_, deployment.model, spec_of(deployment), said), who)
            return self._take(entry)

    async def remove(self, id_: str, seconds: float | None = None) -> None:
        """Have one that was added by REST gone, once its last answer has ended, or after *seconds*.

        Raises `UnknownDeployment` and `NotByRest`.
        """
        async with self._one_at_a_time:
            unusable = [one for one in self.wanted.unusable if one.row.id == id_]
            if not unusable and self.entry(id_).origin == "file":
                raise NotByRest(f"It stands in {self.where}: take it out there, then reload the settings.")
            await self.store.remove(id_)
            self.wanted = self.wanted._replace(
                entries=tuple(entry for entry in self.wanted.entries if entry.id != id_),
                unusable=tuple(one for one in self.wanted.unusable if one.row.id != id_),
            )
            self._apply(seconds)

    async def plan(self) -> drafts.Plan:
        """Return what the settings would start if they were read now. Raises `SettingsInvalid`."""
        return await asyncio.to_thread(drafts.of_settings, read_again(self.environment))

    async def reload(self) -> dict[str, Any]:
        """Read the settings again and carry out what has changed of `deployments`; return what that was.

        Raises `SettingsInvalid`; then nothing was changed.
        """
        async with self._one_at_a_time:
            settings = read_again(self.environment)
            try:
                file = deployments_of(settings)
            except FileNotFoundError as error:
                raise SettingsInvalid(str(error)) from None
            new = wanted(file, await self.store.rows())
            await self._check_file(settings, file, new)
            await self._drop(new)
            self.file, self.wanted = file, await self._sound(new)
            found = self._apply()
            needing = needing_restart(self.settings, settings)
            done = {**found, "needs_restart": needing, "dropped": [row.model for row in new.dropped]}
            log.info("the settings were read again: %s", {name: models for name, models in done.items() if models})
            return done

    def _take(self, entry: Entry) -> Entry:
        """Have *entry* run, in place of the one with its id."""
        known = [one.id for one in self.wanted.entries]
        entries = [entry if one.id == entry.id else one for one in self.wanted.entries]
        self.wanted = self.wanted._replace(entries=tuple(entries if entry.id in known else [*entries, entry]))
        self._apply()
        return entry

    def _apply(self, seconds: float | None = None) -> dict[str, list[str]]:
        found = self.fleet.apply([entry.deployment for entry in self.wanted.entries], seconds)
        return {name: list(models) for name, models in found._asdict().items()}

    async def _drop(self, new: Wanted) -> None:
        for row in new.dropped:
            log.warning("%s: what was changed by REST is dropped: the settings say something new", row.model)
            await self.store.remove(row.id)

    async def _sound(self, new: Wanted) -> Wanted:
        """Leave out what was added by REST and does not fit beside the rest: the settings go first, and what runs."""
        entries = [one for one in new.entries if one.origin == "file" or self.fleet.goes_on_as(one.deployment)]
        unusable = list(new.unusable)
        for entry in new.entries:
            if entry in entries:
                continue
            try:
                await self._check(entry.deployment, entries)
                entries.append(entry)
            except DeploymentRefused as error:
                model, spec = entry.deployment.model, spec_of(entry.deployment)
                log.error("%s is not started: %s", model, error)  # noqa: TRY400 - a traceback says nothing more
                unusable.append(Unusable(Row(entry.id, model, spec, None), str(error)))
        return new._replace(entries=tuple(entries), unusable=tuple(unusable))

    async def _check(self, deployment: Deployment, others: Sequence[Entry]) -> None:
        """Raise `DeploymentRefused` for what is wrong with *deployment*, by itself and beside *others*."""
        known = [entry.deployment for entry in others]
        found = await asyncio.to_thread(about_last, self.settings, [*known, deployment])
        if found:
            raise DeploymentRefused(found)

    async def _check_file(self, settings: Settings, file: Sequence[Deployment], new: Wanted) -> None:
        """Raise `SettingsInvalid` for what is wrong with new settings; of what runs and goes on nothing is asked."""
        going_on = {f"deployments[{i}]" for i, one in enumerate(file) if self.fleet.goes_on_as(one)}
        looked = await asyncio.to_thread(checks.look, settings)
        for text in looked.passing:  # the other models need not wait for it
            log.warning("%s; its replicas will not start before it is free", text)
        found = [text for text in looked.wrong if text.partition(".")[0] not in going_on or "is also" in text]
        found += names_in_use(file, [entry.deployment for entry in new.entries if entry.origin == "rest"])
        if found:
            raise SettingsInvalid("\n".join(found))
