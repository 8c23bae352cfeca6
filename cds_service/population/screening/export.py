"""`$export` of a FHIR server into a folder of NDJSON, after the FHIR Bulk Data Access IG 2.0.0, over R4.

Killed at any time and run again, it goes on: `export.json` in the folder knows what was asked and what came.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson
import requests

from cds_service.advice.needs import all_needs, inputs_read
from cds_service.content.library import Library
from cds_service.population.screening import exported
from cds_service.population.screening.calls_out import (
    FAULTS,
    CallsOut,
    ExportFailed,
    Stopped,
    body_of,
    network_words,
    origin,
    retry_after,
)
from cds_service.population.screening.exported import Exported, File
from cds_service.population.screening.files import Fetcher, NotThere, look
from cds_service.population.screening.manifest import read_manifest, take_files
from cds_service.population.screening.smart import Tokens

_MOST_MANIFEST: Final = 64 * 1024 * 1024
_MOST_OUTCOME: Final = 256 * 1024
_MOST_PAGES: Final = 10_000
_PERCENT: Final = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)? ?%")
# IssueType "transient" with what is below it (FHIR R4, valueset-issue-type): the call may be made again.
_TRANSIENT: Final = re.compile(r"\b(?:transient|lock-error|no-store|exception|timeout|incomplete|throttled)\b")
_NOT_NOW: Final = frozenset({401, 403, 408, 429, 502, 503, 504})  # says nothing of the export itself
_ISSUE: Final = re.compile(r"[a-z-]{1,40}")


class _Over(Exception):
    """The server no longer knows the export (404 or 410)."""


def types_read(library: Library) -> list[str]:
    """The resource types that the rules read, Patient first, and Medication, to which orders refer."""
    needs = all_needs(library)
    keys = {key for loaded in library.rules.values() for key in inputs_read(loaded.rule, library)}
    types = {needs[key].resource_type for key in keys if key in needs}
    types |= {"Medication"} if any(kind.startswith("Medication") for kind in types) else set()
    return ["Patient", *sorted(types - {"Patient"})]


@dataclass
class Export:
    """One export into `folder`. `tell` is given lines for whoever watches: they hold nothing of a patient.

    Call `run`; when somebody stops it (`calls.stop`), `cancel`.
    """

    calls: CallsOut
    folder: Path
    asked: Exported
    tokens: Tokens | None
    tell: Callable[[str], None]
    at_once: int = 3
    keep: bool = False
    _lock: RLock = field(default_factory=RLock)
    _urls: dict[str, str] = field(default_factory=dict)
    _messages: Counter[str] = field(default_factory=Counter)

    def run(self) -> Exported:
        """Asks, waits, fetches, and tells the server that it is over. Raises ExportFailed, Stopped and OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            return self._run()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One export at a time in a folder. A killed one leaves no lock behind."""
        with open(self.folder / exported.LOCK, "wb", opener=exported.private) as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except OSError as error:
                raise ExportFailed(f"Another export is at work in {self.folder}.") from error
            yield

    def _run(self) -> Exported:
        self._go_on()
        (self.folder / exported.OTHER).mkdir(mode=0o700, exist_ok=True)
        if self.asked.finished:
            return self.asked
        for attempt in range(2):
            if self.asked.status_url is None:
                self._kick_off()
            try:
                self._take_manifest()
                self._fetch_all()
            except _Over:
                if attempt:
                    raise ExportFailed("The server forgets its exports before they are fetched.") from None
                self.calls.stop.clear()
                self.tell("The server no longer has this export: it is asked for anew, and what came is dropped.")
                self._forget()
                continue
            break
        if self.asked.finished and not self.keep:
            self._delete()
        return self.asked

    def cancel(self) -> bool:
        """Tells the server to drop the export, unless it is to be kept. Whether it was told."""
        if self.keep or self.asked.status_url is None:
            return False
        self.calls.stop.clear()
        self._delete()
        return True

    # What was done before.

    def _go_on(self) -> None:
        before = exported.load(self.folder)
        if before is None:
            if any(self.folder.glob("*.ndjson*")):
                raise ExportFailed(f"{self.folder} holds NDJSON that no export wrote. Choose another folder.")
            return
        asked = self.asked
        if (before.server, before.group, before.types, before.since) != (
            asked.server,
            asked.group,
            asked.types,
            asked.since,
        ):
            raise ExportFailed(f"{self.folder} holds an export of something else. Choose another folder.")
        self.asked = before

    def _forget(self) -> None:
        """An export that is over: its files are of another moment than those of the next one."""
        self._remove(self.asked.files)
        asked = self.asked
        self.asked = Exported(server=asked.server, group=asked.group, types=asked.types, since=asked.since)
        self._save()

    def _remove(self, files: Iterable[File]) -> None:
        for file in files:
            for name in (file.name, f"{file.name}.part"):
                (self.folder / name).unlink(missing_ok=True)

    def _save(self) -> None:
        with self._lock:
            exported.save(self.folder, self.asked)

    # Asking and waiting.

    def _token(self, refused: str | None = None) -> str | None:
        if self.tokens is None:
            return None
        found = self.tokens.token(refused)
        self.asked.narrowed = list(self.tokens.narrowed)
        return found

    def _kick_off(self) -> None:
        self._forget()
        asked = self.asked
        level = f"Group/{quote(asked.group, safe='')}" if asked.group else "Patient"
        query = {"_type": ",".join(asked.types), "_outputFormat": "application/fhir+ndjson"}
        query |= {"_since": asked.since} if asked.since else {}
        url = f"{asked.server}/{level}/$export?{urlencode(query, safe=',/')}"
        headers = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
        response = self.calls.patiently("GET", url, headers, what="The kick-off", token=self._token, once=True)
        if response.status_code != 202:
            why = self._why(response)
            raise ExportFailed(f"The server refuses the export: {why}{_HINTS.get(response.status_code, '.')}")
        response.close()
        where = response.headers.get("Content-Location", "")
        self._own(where, "The status address (Content-Location)")
        asked.status_url = where
        self._save()
        self.tell("The export is asked for.")

    def _own(self, url: str, what: str) -> None:
        """An address to which the token goes: it must be of the server itself, or of a host that a person named."""
        self.calls.check(url, what)
        if not self.calls.typed(url):
            host = origin(url)[1]
            raise ExportFailed(f"{what} is at {host}, not at the server that was named. If it is right: --allow {host}")

    def _status(self, url: str) -> requests.Response:
        """The answer when the server is done. Raises _Over, ExportFailed and Stopped."""
        waits = failures = 0
        while True:
            response = self.calls.patiently(
                "GET", url, {"Accept": "application/json"}, what="The status address", token=self._token
            )
            status = response.status_code
            if status == 200:
                return response
            if status in (404, 410):
                response.close()
                raise _Over
            if status != 202:
                why, seconds = self._why(response), retry_after(response, self.calls.now)
                if _TRANSIENT.search(why) and failures < self.calls.patience.tries:
                    self.calls.pause(self.calls.backoff(failures) if seconds is None else seconds)
                    failures += 1
                    continue
                if status in _NOT_NOW:
                    raise ExportFailed(f"The server does not say how far it is: {why}. Run again, it goes on.")
                self._delete()
                self._forget()
                raise ExportFailed(f"The export failed in the server: {why}. Run the command again to ask anew.")
            response.close()
            failures = 0
            seconds = retry_after(response, self.calls.now)
            seconds = self.calls.backoff(waits) if seconds is None else seconds
            percent = _PERCENT.search(response.headers.get("X-Progress", "")[:200])
            done = f" ({percent[1]} %)" if percent else ""
            self.tell(f"The server is at work{done}: asked again in {seconds:.0f} s.")
            self.calls.pause(seconds)
            waits += 1

    def _why(self, response: requests.Response) -> str:
        """The status, with the codes of an OperationOutcome. Its words may name patients and are not shown."""
        try:
            said: Any = orjson.loads(body_of(response, _MOST_OUTCOME))
            codes = [str(issue.get("code", "")) for issue in said["issue"]]
        except (*FAULTS, ValueError, KeyError, TypeError, AttributeError):
            codes = []
        told = ", ".join(dict.fromkeys(code for code in codes if _ISSUE.fullmatch(code)))
        return f"{response.status_code}{f' ({told})' if told else ''}"

    # What came of it.

    def _take_manifest(self) -> None:
        """Reads the manifest with all its pages, and knows again which of its files are there already."""
        pages, url, seen = [], str(self.asked.status_url), set[str]()
        following: str | None = url
        while following is not None:
            seen.add(following)
            response = self._status(following)
            try:
                pages.append(read_manifest(body_of(response, _MOST_MANIFEST)))
            except FAULTS as error:
                raise ExportFailed(f"The manifest: {network_words(error)}.") from error
            except ValueError as error:
                raise ExportFailed(f"The manifest is {error}.") from error
            following = next((link.url for link in pages[-1].link or () if link.relation == "next"), None)
            if following is not None:
                self._own(following, "The next page of the manifest")
                if following in seen or len(pages) >= _MOST_PAGES:
                    raise ExportFailed("The pages of the manifest have no end.")
        with self._lock:
            self._urls, gone = take_files(self.asked, pages)
            self._remove(gone)
            for file in self.asked.files:  # somebody may have taken one away
                file.done = file.done and (self.folder / file.name).exists()
            self._save()

    def _fetch_all(self) -> None:
        waiting = [file for file in self.asked.files if not file.done]
        self.tell(f"{len(waiting)} of {len(self.asked.files)} files are to be fetched.")
        failed: list[ExportFailed] = []
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="export") as threads:
            done: list[Future[None]] = [threads.submit(partial(self._fetch, file, failed)) for file in waiting]
            try:
                wait(done, return_when=FIRST_EXCEPTION)
            finally:
                if not all(each.done() for each in done):  # one failed, or somebody stopped us
                    self.calls.stop.set()
                    for each in done:
                        each.cancel()
        faults = [error for each in done if not each.cancelled() and (error := each.exception())]
        for error in sorted(faults, key=lambda error: isinstance(error, Stopped)):  # the cause before what it stopped
            raise error
        if failed:
            self._save()
            raise ExportFailed(" ".join(map(str, failed)) + " Run the command again: it goes on with what is missing.")
        self._sum_up()

    def _fetch(self, file: File, failed: list[ExportFailed]) -> None:
        """One file. What is of this file alone is noted in `failed`; Stopped, a full disk and bugs are raised."""
        token = self._token if self.asked.token_needed else (lambda _: None)
        fetcher = Fetcher(self.calls, self.folder, token, self._save)
        try:
            try:
                fetcher.fetch(file, self._urls[file.id])
            except NotThere:
                self._addresses_again(file)
                fetcher.fetch(file, self._urls[file.id])
        except NotThere as error:
            failed.append(ExportFailed(f"{file.name}: the server does not give it ({error})."))
        except ExportFailed as error:
            failed.append(error)
        else:
            self._save()
            left = sum(not each.done for each in self.asked.files)
            fault = f" BUT {file.fault}." if file.fault else ""
            self.tell(f"{file.name}: {file.lines} resources. {left} files to go.{fault}")

    def _addresses_again(self, file: File) -> None:
        """Addresses that are signed run out: the manifest gives new ones for the same files."""
        with self._lock:
            used = self._urls[file.id]
            self._take_manifest()
            if file.id not in self._urls or self._urls[file.id] == used:
                raise NotThere("404")

    def _sum_up(self) -> None:
        asked, messages = self.asked, Counter[str]()
        for file in asked.files:
            if file.kind == "error":
                messages += look(self.folder / file.name, file.type).messages
        asked.messages = dict(messages)
        asked.deleted = sum(file.lines for file in asked.files if file.kind == "deleted")
        asked.finished = True
        self._save()

    def _delete(self) -> None:
        """The server may drop its files. Where it cannot be told, that is said and nothing more."""
        if self.asked.status_url is None:
            return
        try:
            self.calls.patiently(
                "DELETE",
                self.asked.status_url,
                {"Accept": "application/fhir+json"},
                what="The status address",
                token=self._token,
            ).close()
        except ExportFailed:
            self.tell("The server could not be told that the export is over; it drops it in its own time.")
        self.asked.status_url = None
        self._save()


_HINTS: Final = {
    400: ". Does it know all types that are asked for? Leave one out with --without.",
    401: ". It takes no token, or not this one.",
    403: ". This client may not export these types, or not this group.",
    404: ". Is the address the FHIR base, and does it have this group and $export?",
}
