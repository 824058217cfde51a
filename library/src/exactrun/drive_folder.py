"""A directory of Drive by its link, downloaded through Drive's own API, without mounting it.

https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import requests

from . import colab
from .console import say
from .environment import where
from .errors import UserError
from .files import explain, hidden, patiently, progress_bar, require_space
from .staged import becoming, becoming_directory

try:
    from google.auth.exceptions import GoogleAuthError
except ImportError:  # nobody raises it then, and `_connect` says what to install
    GoogleAuthError = requests.RequestException

API = "https://www.googleapis.com/drive/v3/files"
SCOPE = "https://www.googleapis.com/auth/drive.readonly"
GOOGLE = "application/vnd.google-apps."
"""How the types of Google's own documents begin, which have no bytes to download."""

FOLDER, SHORTCUT = f"{GOOGLE}folder", f"{GOOGLE}shortcut"
FIELDS = "id,name,mimeType,size,md5Checksum,modifiedTime,resourceKey,shortcutDetails"
RETRIES = 6
"""Attempts after a busy service or a lost connection; each waits twice as long."""

BUSY = ("rateLimitExceeded", "userRateLimitExceeded")
BLOCK = 1 << 16
"""Bytes that are read at once, which is what a lost connection can cost."""

SILENCE = 60.0
"""Seconds without an answer after which a connection is taken for lost."""

LINK = re.compile(r"https?://(drive|docs|drive\.usercontent)\.google\.com/")


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A file or directory in Drive.

    Attributes:
        id: Drive's name for it, which is unique.
        path: Where it goes, relative to the target.
        kind: Its MIME type.
        size: In bytes; 0 for what has none.
        md5: Of its bytes; empty where Drive has not computed it.
        changed: When, in seconds since 1970.
    """

    id: str
    path: PurePosixPath
    kind: str
    size: int
    md5: str
    changed: int


class _Refused(Exception):
    """Drive's API answered with an error; it has a reason if that is the API's usual JSON."""

    def __init__(self, answer: Any) -> None:
        self.status, self.reason, message = answer.status_code, "", ""
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            error = answer.json()["error"]
            message = str(error.get("message", ""))
            self.reason = error["errors"][0]["reason"]
        super().__init__(message or f"status {self.status}")


def is_drive_link(text: str) -> bool:
    """Tell whether a text is a link to something in Drive, or the id of it, and no local path."""
    is_id = re.fullmatch(r"(0[AB]|1)[\w-]{17,}", text) is not None
    return LINK.match(text) is not None or (is_id and not Path(text).exists())


def fetch_drive_folder(
    link: str, directory: str | Path, *, acknowledge_abuse: bool = False, session: Any = None
) -> Path:
    """Download a file, or a directory with all that is in it, and verify each file's MD5.

    The tree is kept, with its empty directories; shortcuts are followed. Files of the same name in
    one directory, which Drive allows, get their ids into their names. What has no bytes, such as
    Google's own documents, is named and skipped. An interrupted download goes on, and what is
    complete takes its name only then: a directory that exists is whole.

    Args:
        link: A link, with its resource key if it has one, or an id.
        directory: On the local disk; what the link leads to is put into it, under its name.
        acknowledge_abuse: Whether to download what Drive takes for malware, which its owner may.
        session: For requests to Google; by default, with the account of whoever runs this.

    Returns:
        The path of the file or directory.

    Raises:
        UserError: If Drive refuses, if there isn't enough space, or if a file arrives damaged.

    Example:
        >>> link = "https://drive.google.com/drive/folders/1AbC-dEf_GhIjKlMnOpQrStUvWxYz"
        >>> exactrun.fetch_drive_folder(link, "/content")  # doctest: +SKIP
    """
    directory, identity = Path(directory), _id_in(link)
    try:
        drive = _Drive(session or _connect(), acknowledge_abuse=acknowledge_abuse)
        if key := re.search(r"[?&]resourcekey=([\w-]+)", link):
            drive.keys[identity] = key[1]
        root = drive.entry(drive.look_up(identity), PurePosixPath())
        if root is None or (root.kind != FOLDER and root.kind.startswith(GOOGLE)):
            raise UserError(
                f"{link} leads to a document of Google's, which has no bytes. Download it on its"
                " page, by File → Download, and put that file into Drive."
            )
        entries = list(drive.walk(root)) if root.kind == FOLDER else [root]
        size = sum(entry.size for entry in entries)
        require_space(directory, size, purpose=f"the download of {root.path.name}")
        whole = directory / root.path
        with progress_bar(size, root.path.name) as bar:
            if root.kind != FOLDER:
                with becoming(whole) as target:
                    drive.download(root, target, moved=bar.update)
            else:
                names = {
                    f"{entry.path.relative_to(root.path)}{'/' * (entry.kind == FOLDER)}": entry
                    for entry in entries
                }
                with becoming_directory(whole, names) as target:
                    for name, entry in names.items():
                        if entry.kind != FOLDER:
                            drive.download(entry, target / name, moved=bar.update)
    except (_Refused, OSError, GoogleAuthError) as error:
        raise UserError(f"{link} was not downloaded: {_explain(error)}") from error
    return whole


class _Drive:
    """What is asked of Drive's API.

    Args:
        session: Sends requests, with the account's credentials.
        acknowledge_abuse: See `fetch_drive_folder`.

    Attributes:
        keys: Resource keys by id, which older shared files need besides the id.
    """

    def __init__(self, session: Any, *, acknowledge_abuse: bool) -> None:
        self._session = session
        self._more = {"acknowledgeAbuse": "true"} if acknowledge_abuse else {}
        self.keys: dict[str, str] = {}

    def look_up(self, identity: str) -> dict[str, Any]:
        """Return what Drive knows of a file."""
        return dict(self._get(f"{API}/{identity}", {"fields": FIELDS}).json())

    def entry(
        self, item: dict[str, Any], parent: PurePosixPath, *, unique: bool = True
    ) -> _Entry | None:
        """Return a file or directory, of a shortcut what it leads to; None if that is nothing."""
        name = PurePosixPath(_safe(item["name"]))
        path = parent / (name if unique else f"{name.stem} ({item['id']}){name.suffix}")
        if item["mimeType"] == SHORTCUT:
            details = item.get("shortcutDetails", {})
            identity = details.get("targetId", "")
            if key := details.get("targetResourceKey"):
                self.keys[identity] = key
            try:
                item = self.look_up(identity)
            except _Refused as error:
                if error.status != 404:
                    raise
                _skip(path, "a shortcut to what is gone, or not shared with you")
                return None
        if key := item.get("resourceKey"):
            self.keys[item["id"]] = key
        changed = item.get("modifiedTime", "1970-01-01T00:00:00Z")
        return _Entry(
            id=item["id"],
            path=path,
            kind=item["mimeType"],
            size=int(item.get("size", 0)),
            md5=item.get("md5Checksum", ""),
            changed=int(datetime.fromisoformat(changed).timestamp()),
        )

    def walk(self, folder: _Entry, above: tuple[str, ...] = ()) -> Iterator[_Entry]:
        """Yield all files and directories below one, page by page."""
        query = {
            "q": f"'{folder.id}' in parents and trashed = false",
            "pageSize": "1000",
            "fields": f"nextPageToken,files({FIELDS})",
            "includeItemsFromAllDrives": "true",
        }
        items: list[dict[str, Any]] = []
        while True:
            answer = self._get(API, query).json()
            items += answer.get("files", [])
            if not (page := answer.get("nextPageToken")):
                break
            query["pageToken"] = page
        # As file systems compare them that take upper and lower case for one.
        names = Counter(_safe(item["name"]).casefold() for item in items)
        for item in sorted(items, key=lambda item: (item["name"], item["id"])):
            unique = names[_safe(item["name"]).casefold()] == 1
            entry = self.entry(item, folder.path, unique=unique)
            if entry is None:
                continue
            if entry.kind == FOLDER and entry.id in (*above, folder.id):
                _skip(entry.path, "a shortcut to a directory that it is in")
            elif entry.kind == FOLDER:
                yield entry
                yield from self.walk(entry, (*above, folder.id))
            elif entry.kind.startswith(GOOGLE):
                kind = entry.kind.removeprefix(GOOGLE)
                _skip(entry.path, f"Google's {kind}, which has no bytes")
            else:
                yield entry

    def download(self, entry: _Entry, file: Path, *, moved: Callable[[int], object]) -> None:
        """Download a file from where an earlier attempt stopped, and verify it.

        Raises:
            UserError: If it arrives damaged.
        """
        if _is(file, entry) and (entry.md5 or int(file.stat().st_mtime) == entry.changed):
            moved(entry.size)
            return
        partial = hidden(file, "partial")
        for _ in range(2):  # what was there may be of an older version: once more
            try:
                self._fill(entry, partial, moved=moved)
            except _Refused as error:
                if error.reason != "cannotDownloadAbusiveFile":
                    raise
                raise UserError(
                    f"{entry.path} was not downloaded: Drive takes it for malware or spam. If it is"
                    " your own and you trust it, pass acknowledge_abuse=True; else delete it there."
                ) from error
            if _is(partial, entry):
                os.utime(partial, (entry.changed, entry.changed))
                patiently(partial.replace, file)
                return
            patiently(partial.unlink)
            moved(-entry.size)
        raise UserError(
            f"{entry.path} arrived damaged, twice: it is not the {entry.size} bytes with the MD5"
            f" {entry.md5 or '(unknown)'} that Drive names. Has it been changed meanwhile? Run this"
            " again; files that are complete are kept."
        )

    def _fill(self, entry: _Entry, partial: Path, *, moved: Callable[[int], object]) -> None:
        """Add to a file what it lacks to its size."""
        lost = 0
        with partial.open("ab") as file:
            moved(file.tell())
            while (done := file.tell()) < entry.size:
                headers = {"Range": f"bytes={done}-", "Accept-Encoding": "identity"}
                why: Exception = ConnectionError("the connection ends before the file does")
                query = {"alt": "media", **self._more}
                with self._get(f"{API}/{entry.id}", query, headers=headers) as answer:
                    if answer.status_code == 200 and done:  # all of it, though a part was asked for
                        file.truncate(0)
                        moved(-done)
                    try:
                        for block in answer.iter_content(BLOCK):
                            file.write(block)
                            moved(len(block))
                            lost = 0
                    except requests.RequestException as error:
                        why = error
                file.flush()
                if file.tell() < entry.size:
                    lost += 1
                    if lost > RETRIES:
                        raise why
                    time.sleep(2.0 ** (lost - 1))

    def _get(
        self, address: str, query: dict[str, str], *, headers: dict[str, str] | None = None
    ) -> Any:
        """Ask Drive's API, again if it is busy or the connection is lost.

        Raises:
            _Refused: If it says no.
            requests.RequestException: If it can't be reached.
        """
        sent = dict(headers or {})
        if self.keys:
            keys = [f"{identity}/{key}" for identity, key in self.keys.items()]
            sent["X-Goog-Drive-Resource-Keys"] = ",".join(keys)
        attempt = 0
        while True:
            try:
                answer = self._session.get(
                    address,
                    params={"supportsAllDrives": "true"} | query,
                    headers=sent,
                    stream=headers is not None,
                    timeout=SILENCE,
                )
                if answer.ok:
                    return answer
                refused = _Refused(answer)
                busy = refused.status == 429 or refused.status >= 500 or refused.reason in BUSY
                if attempt == RETRIES or not busy:
                    raise refused
            except (requests.ConnectionError, requests.Timeout):
                if attempt == RETRIES:
                    raise
            time.sleep(2.0**attempt)
            attempt += 1


def _id_in(link: str) -> str:
    """Return the id in a link to a file or directory, or the id itself."""
    found = re.search(r"(?:/folders/|/d/|[?&]id=)([\w-]{10,})", link)
    if found is None and not re.fullmatch(r"[\w-]{10,}", link):
        raise UserError(
            f"{link!r} is no link to a file or directory in Drive. Open it on"
            " https://drive.google.com, choose Share → Copy link, and use that."
        )
    return found[1] if found else link


def _connect() -> Any:
    """Return a session with the credentials of whoever runs this."""
    if where() == "colab":
        colab.authenticate()
    try:
        import google.auth
        from google.auth.transport.requests import AuthorizedSession
    except ImportError as error:
        raise UserError(
            "Links to Drive need Google's credentials library: pip install google-auth"
        ) from error
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise UserError(
            "There are no credentials for Drive here. Make some with Google's command line:\n"
            f"  gcloud auth application-default login --scopes={SCOPE},"
            "https://www.googleapis.com/auth/cloud-platform"
        ) from error
    return AuthorizedSession(credentials)


def _skip(path: PurePosixPath, why: str) -> None:
    say(f"Skipped: {path} ({why}).")


def _safe(name: str) -> str:
    """Return a name that names one file on every system, and no way out of its directory."""
    cleaned = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ")
    return cleaned or "_"


def _is(file: Path, entry: _Entry) -> bool:
    """Tell whether a file has the bytes that Drive names; their number where it knows no more."""
    if not file.exists() or file.stat().st_size != entry.size:
        return False
    with file.open("rb") as opened:
        return not entry.md5 or hashlib.file_digest(opened, "md5").hexdigest() == entry.md5


def _explain(error: Exception) -> str:
    """Say what an error of the API or the network means, and what to do."""
    status = getattr(error, "status", None)
    if status == 404:
        return (
            "Drive knows nothing of this name, or your account may not see it. Open the link in a"
            " browser with the account that you gave here, and copy it whole: a resourcekey in it"
            " counts."
        )
    if status in (401, 403):
        return (
            f"Drive refused: {error}. Ask its owner for access; if it is a quota that is used up,"
            " run this again tomorrow."
        )
    said = explain(error) or type(error).__name__
    return f"{said}. Run this again: files that are complete are kept."
