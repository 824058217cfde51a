"""A Drive folder by its id or link, downloaded through Drive's own API, without mounting it.

https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError
from .environment import where
from .files import CHUNK, progress_bar, require_space

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
FOLDER = "application/vnd.google-apps.folder"
GOOGLE = "application/vnd.google-apps."
"""How the types of Google's own documents begin, which have no bytes to download."""

FIELDS = "id, name, mimeType, size, md5Checksum"
SHARED = {"supportsAllDrives": True}
RETRIES = 6
"""Attempts after 403 (rate), 429, 5xx and lost connections; the client waits twice as long each."""

BLOCK = 16 * CHUNK
"""Bytes of one request, which is what an interruption can cost."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file in Drive.

    Attributes:
        id: Drive's name for it, which is unique.
        path: Where it goes, relative to the target.
        kind: Its MIME type.
        size: In bytes; 0 for a document of Google's.
        md5: Of its bytes; empty for a document of Google's.
    """

    id: str
    path: PurePosixPath
    kind: str
    size: int
    md5: str


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What came of a download.

    Attributes:
        folder: Where the files are.
        files: Paths of the files, relative to it.
        skipped: Paths of Google's documents and shortcuts, which have no bytes.
    """

    folder: Path
    files: tuple[str, ...]
    skipped: tuple[str, ...]


def leads_to_drive(text: str) -> bool:
    """Tell whether a text is a link to something in Drive, or the id of it, and no local path."""
    is_link = re.match(r"https?://(drive|docs)\.google\.com/", text) is not None
    return is_link or (re.fullmatch(r"[\w-]{25,}", text) is not None and not Path(text).exists())


def drive_id(link: str) -> str:
    """Return the id in a link to a file or folder, or the id itself.

    Raises:
        UserError: If there is none.
    """
    found = re.search(r"(?:/folders/|/d/|[?&]id=)([\w-]{10,})", link)
    if found is None and not re.fullmatch(r"[\w-]{10,}", link):
        raise UserError(
            f"{link!r} is no link to a file or folder in Drive. Open it on"
            " https://drive.google.com, choose Share → Copy link, and use that."
        )
    return found[1] if found else link


def connect() -> Any:
    """Return a client of Drive's API, for the account of whoever runs this.

    Raises:
        UserError: If there are no credentials.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from googleapiclient.discovery import build

    if where() == "colab":
        from google.colab import auth

        try:
            auth.authenticate_user()
        except Exception as error:  # MessageError, AuthorizationError: no common base
            raise UserError(
                f"The account was not given: {error}. Run this again, and allow the notebook to see"
                " your Drive when the browser asks."
            ) from error
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise UserError(
            "There are no credentials for Drive here. Make some with Google's command line:\n"
            f"  gcloud auth application-default login --scopes={SCOPE},"
            "https://www.googleapis.com/auth/cloud-platform"
        ) from error
    return build("drive", "v3", credentials=credentials, cache_discovery=False)


def fetch(link: str, target: Path, *, service: Any = None) -> Fetched:
    """Download a file, or a folder with all that is in it, and verify each file's MD5.

    The tree is kept. Files of the same name in one folder, which Drive allows, get their ids into
    their names. What is there already stays; what was interrupted goes on.

    Args:
        link: A link or an id.
        target: A local folder; what the link leads to is put into it, under its name.
        service: A client of Drive's API; by default, that of `connect`.

    Raises:
        UserError: If Drive refuses, if there isn't enough space, or if a file arrives damaged.
    """
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import Error
    from httplib2 import HttpLib2Error

    service = service or connect()
    identity = drive_id(link)
    try:
        root = service.files().get(fileId=identity, fields=FIELDS, **SHARED)
        entry = _entry(root.execute(num_retries=RETRIES), PurePosixPath())
        entries = list(_walk(service, entry)) if entry.kind == FOLDER else [entry]
        files = [entry for entry in entries if not entry.kind.startswith(GOOGLE)]
        skipped = [entry for entry in entries if entry.kind.startswith(GOOGLE)]
        target.mkdir(parents=True, exist_ok=True)
        size = sum(entry.size for entry in files)
        require_space(target, size, purpose=f"the download of {entry.path.name}")
        with progress_bar(size, entry.path.name) as bar:
            for each in files:
                _download(service, each, target / each.path, moved=bar.update)
    except (Error, GoogleAuthError, HttpLib2Error, http.client.HTTPException, OSError) as error:
        raise UserError(f"{link} was not downloaded: {_explain(error)}") from error
    for each in skipped:
        print(f"Skipped, as it has no bytes: {each.path} ({each.kind.removeprefix(GOOGLE)})")
    return Fetched(
        folder=target / entry.path,
        files=tuple(str(each.path) for each in files),
        skipped=tuple(str(each.path) for each in skipped),
    )


def _walk(service: Any, folder: Entry) -> Iterator[Entry]:
    """Yield all files below a folder, page by page."""
    query = f"'{folder.id}' in parents and trashed = false"
    options = {"q": query, "pageSize": 1000, "fields": f"nextPageToken, files({FIELDS})"}
    found: list[dict[str, Any]] = []
    page: str | None = None
    while True:
        request = service.files().list(
            pageToken=page, includeItemsFromAllDrives=True, **options, **SHARED
        )
        answer = request.execute(num_retries=RETRIES)
        found += answer.get("files", [])
        page = answer.get("nextPageToken")
        if page is None:
            break
    # As file systems compare them that take upper and lower case for one.
    names = Counter(_safe(item["name"]).casefold() for item in found)
    for item in sorted(found, key=lambda item: (item["name"], item["id"])):
        entry = _entry(item, folder.path, unique=names[_safe(item["name"]).casefold()] == 1)
        if entry.kind == FOLDER:
            yield from _walk(service, entry)
        else:
            yield entry


def _entry(item: dict[str, Any], parent: PurePosixPath, *, unique: bool = True) -> Entry:
    name = PurePosixPath(_safe(item["name"]))
    return Entry(
        id=item["id"],
        path=parent / (name if unique else f"{name.stem} ({item['id']}){name.suffix}"),
        kind=item["mimeType"],
        size=int(item.get("size", 0)),
        md5=item.get("md5Checksum", ""),
    )


def _safe(name: str) -> str:
    """Return a name that names one file on every system, and no way out of its folder."""
    cleaned = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ")
    return cleaned or "_"


def _download(service: Any, entry: Entry, file: Path, *, moved: Callable[[int], object]) -> None:
    """Download a file block by block, from where an earlier attempt stopped."""
    if file.exists() and _md5(file) == entry.md5:
        moved(entry.size)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    for last in (False, True):  # what was there may be of an older version: once more, from zero
        _fill(service, entry, partial, moved=moved)
        if _md5(partial) == entry.md5:
            partial.replace(file)
            return
        partial.unlink()
        if not last:
            moved(-entry.size)
    raise UserError(
        f"{entry.path} arrived damaged, twice: its MD5 is not {entry.md5}. Has it been changed in"
        " Drive meanwhile? Run this again; files that are complete are kept."
    )


def _fill(service: Any, entry: Entry, partial: Path, *, moved: Callable[[int], object]) -> None:
    """Add to a file what it lacks to its size."""
    with partial.open("ab") as file:
        moved(file.tell())
        lost = 0
        while (done := file.tell()) < entry.size:
            request = service.files().get_media(fileId=entry.id, **SHARED)
            request.headers["range"] = f"bytes={done}-{min(done + BLOCK, entry.size) - 1}"
            try:
                block = request.execute(num_retries=RETRIES)
            except http.client.IncompleteRead as error:  # not one of those the client retries
                lost += 1
                if lost > RETRIES:
                    raise
                block = error.partial
                time.sleep(2.0**lost)
            file.write(block)
            moved(len(block))


def _md5(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def _explain(error: Exception) -> str:
    """Say what an error of the API or the network means, and what to do."""
    status = getattr(error, "status_code", None)
    again = "Run this again: files that are complete are kept."
    if status == 404:
        return (
            "Drive knows nothing of this name, or your account may not see it. Open the link in a"
            " browser with the account that you gave here."
        )
    if status in (401, 403):
        reason = error.reason  # type: ignore[attr-defined]
        return (
            f"Drive refused: {reason}. Ask its owner for access; if it is a quota that is used up,"
            " run this again tomorrow."
        )
    return f"{error or type(error).__name__}. {again}"
