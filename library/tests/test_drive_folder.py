"""A directory of Drive by its link, from a small server that answers as Drive's API does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from machines import on_colab

from exactrun import UserError, drive_folder
from exactrun.drive_folder import FOLDER, GOOGLE, SHORTCUT, fetch_drive_folder
from exactrun.staging import stage

RATE_LIMIT = {"error": {"errors": [{"reason": "userRateLimitExceeded"}], "message": "slow down"}}
ROOT = "1root-directory-in-drive"


@dataclass
class Drive:
    """What the server holds, does and was asked.

    Attributes:
        items: Files and directories by id: name, type, parent, bytes, and what else is told.
        failures: Status and body of the next answers, before it does as it is told.
        cut: After so many bytes, the next answers' connections are lost.
        whole: Whether ranges are ignored, as servers may.
        asked: The path and range of each request.
    """

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[tuple[int, Any]] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    whole: bool = False
    asked: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    abuse: set[str] = field(default_factory=set)
    page: int = 2

    def add(
        self,
        id: str,
        name: str,
        parent: str = ROOT,
        content: bytes = b"",
        kind: str = "text/plain",
        **more: Any,
    ) -> None:
        self.items[id] = {
            "name": name,
            "parent": parent,
            "kind": kind,
            "content": content,
            "more": more,
        }

    def shortcut(self, id: str, name: str, target: str, parent: str = ROOT, **more: str) -> None:
        details = {"targetId": target, "targetMimeType": "whatever", **more}
        self.add(id, name, parent, kind=SHORTCUT, shortcutDetails=details)

    def describe(self, id: str) -> dict[str, Any]:
        item = self.items[id]
        described = {
            "id": id,
            "name": item["name"],
            "mimeType": item["kind"],
            "modifiedTime": "2026-11-21T10:00:00.000Z",
        }
        if not item["kind"].startswith(GOOGLE):
            described["size"] = str(len(item["content"]))
            described["md5Checksum"] = hashlib.md5(item["content"]).hexdigest()
        described |= item["more"]
        return {name: value for name, value in described.items() if value is not None}

    @property
    def ranges(self) -> list[str]:
        return [asked.rpartition("=")[2] for asked in self.asked if "bytes" in asked]


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """A Drive with a directory, of which nothing waits between attempts."""
    held = Drive()
    held.add(ROOT, "My data", "", kind=FOLDER)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            held.asked.append(f"{address.path} {self.headers.get('range', '')}".strip())
            if held.failures:
                status, told = held.failures.pop(0)
                return self.answer(status, told if isinstance(told, bytes) else dump(told))
            assert query["supportsAllDrives"] == "true"
            id = address.path.rpartition("/")[2]
            if id == "files":
                return self.answer_list(query)
            keys = dict(
                pair.split("/")
                for pair in self.headers.get("X-Goog-Drive-Resource-Keys", "").split(",")
                if pair
            )
            if id not in held.items or held.keys.get(id) not in (None, keys.get(id)):
                return self.answer(404, b'{"error": {"message": "File not found"}}')
            if query.get("alt") != "media":
                return self.answer(200, dump(held.describe(id)))
            if id in held.abuse and query.get("acknowledgeAbuse") != "true":
                why = {"reason": "cannotDownloadAbusiveFile"}
                return self.answer(403, dump({"error": {"errors": [why], "message": "malware"}}))
            content = held.items[id]["content"]
            if held.whole:
                return self.answer(200, content)
            first = int(re.findall(r"\d+", self.headers["range"])[0])
            return self.answer(206, content[first:])

        def answer_list(self, query: dict[str, str]) -> None:
            assert query["includeItemsFromAllDrives"] == "true"
            parent = query["q"].split("'")[1]
            ids = [id for id, item in held.items.items() if item["parent"] == parent]
            start = int(query.get("pageToken", 0))
            told: dict[str, Any] = {
                "files": [held.describe(id) for id in ids[start : start + held.page]]
            }
            if start + held.page < len(ids):
                told["nextPageToken"] = str(start + held.page)
            self.answer(200, dump(told))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if held.cut and "bytes" in held.asked[-1]:
                body, self.close_connection = body[: held.cut.pop(0)], True
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    def dump(told: Any) -> bytes:
        return json.dumps(told).encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/drive/v3/files"
    monkeypatch.setattr(drive_folder, "API", address)
    monkeypatch.setattr(drive_folder, "BLOCK", 100)
    monkeypatch.setattr(drive_folder.time, "sleep", lambda seconds: None)
    yield held
    server.shutdown()
    server.server_close()


def fetched(target: Path, link: str = ROOT, **options: Any) -> dict[str, bytes]:
    with requests.Session() as session:
        directory = fetch_drive_folder(link, target, session=session, **options)
    return {
        path.relative_to(directory).as_posix() + "/" * path.is_dir(): path.is_file()
        and path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def test_the_tree_arrives_page_by_page(drive: Drive, tmp_path: Path) -> None:
    for number in range(5):
        drive.add(f"file-{number}", f"{number}.txt", content=b"%d" % number)
    drive.add("inner-folder", "inner", kind=FOLDER)
    drive.add("nothing-in-it", "nothing", "inner-folder", kind=FOLDER)
    drive.add("empty-file", "empty.txt", "inner-folder")
    drive.add("large-file", "large.bin", "inner-folder", bytes(range(256)) * 20)
    assert fetched(tmp_path) == {
        **{f"{number}.txt": b"%d" % number for number in range(5)},
        "inner/empty.txt": b"",
        "inner/large.bin": bytes(range(256)) * 20,
        "inner/nothing/": False,
    }
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["My data"]


def test_a_link_to_one_file_brings_that_file(drive: Drive, tmp_path: Path) -> None:
    drive.add("1some-file-of-its-own", "notes.txt", content=b"one")
    link = "https://drive.google.com/file/d/1some-file-of-its-own/view"
    session = requests.Session()
    for content in (b"one", b"one", b"another"):
        drive.items["1some-file-of-its-own"]["content"] = content
        found = fetch_drive_folder(link, tmp_path, session=session)
        assert (found, found.read_bytes()) == (tmp_path / "notes.txt", content)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".notes.txt.staged",
            "notes.txt",
        ]
    session.close()


def test_same_names_do_not_overwrite_each_other(drive: Drive, tmp_path: Path) -> None:
    drive.add("first-one", "notes.txt", content=b"first")
    drive.add("second-one", "Notes.txt", content=b"second")
    assert fetched(tmp_path) == {
        "notes (first-one).txt": b"first",
        "Notes (second-one).txt": b"second",
    }


def test_no_name_leads_out_of_the_directory(drive: Drive, tmp_path: Path) -> None:
    drive.add("upwards-1", "../../evil.txt", content=b"1")
    drive.add("upwards-2", "..", content=b"2")
    assert set(fetched(tmp_path)) == {".._.._evil.txt", "_"}


def test_what_has_no_bytes_is_skipped_and_named(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive.add("document-1", "Plan", kind=f"{GOOGLE}document")
    drive.shortcut("shortcut-1", "To a plan", "document-1")
    drive.shortcut("shortcut-2", "To nothing", "gone")
    assert fetched(tmp_path) == {}
    assert capsys.readouterr().out.splitlines() == [
        "Skipped: My data/Plan (Google's document, which has no bytes).",
        "Skipped: My data/To a plan (Google's document, which has no bytes).",
        "Skipped: My data/To nothing (a shortcut to what is gone, or not shared with you).",
    ]
    with pytest.raises(UserError, match="leads to a document of Google's.*File → Download"):
        fetched(tmp_path, "https://docs.google.com/document/d/document-1/edit")


def test_shortcuts_are_followed_and_their_cycles_are_named(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive.add("elsewhere", "Elsewhere", "another parent", kind=FOLDER)
    drive.add("data-file", "data.txt", "elsewhere", b"data")
    drive.shortcut("shortcut-1", "Linked", "elsewhere")
    drive.shortcut("shortcut-2", "one.txt", "data-file")
    drive.shortcut("shortcut-3", "Back", ROOT, parent="elsewhere")
    drive.shortcut("shortcut-4", "Itself", "elsewhere", parent="elsewhere")
    assert fetched(tmp_path) == {"Linked/data.txt": b"data", "one.txt": b"data"}
    printed = capsys.readouterr().out
    assert "Skipped: My data/Linked/Back (a shortcut to a directory that it is in)" in printed
    assert "Skipped: My data/Linked/Itself (a shortcut to a directory that it is in)" in printed


def test_resource_keys_are_sent(drive: Drive, tmp_path: Path) -> None:
    drive.keys = {ROOT: "0-key-of-link", "old-file": "0-of-list", "shared-file": "0-of-shortcut"}
    drive.add("old-file", "old.txt", content=b"old", resourceKey="0-of-list")
    drive.add("shared-file", "shared.txt", "another parent", b"shared")
    drive.shortcut("shortcut-1", "linked.txt", "shared-file", targetResourceKey="0-of-shortcut")
    link = f"https://drive.google.com/drive/folders/{ROOT}?resourcekey=0-key-of-link&usp=sharing"
    assert fetched(tmp_path, link) == {"old.txt": b"old", "linked.txt": b"shared"}
    with pytest.raises(UserError, match="a resourcekey in it counts"):
        fetched(tmp_path, ROOT)


def test_a_blob_without_md5_is_taken_by_its_size_and_date(drive: Drive, tmp_path: Path) -> None:
    drive.add("odd-file", "odd.bin", content=bytes(2500), md5Checksum=None)
    assert fetched(tmp_path) == {"odd.bin": bytes(2500)}
    assert len(drive.ranges) == 1
    fetched(tmp_path)
    assert len(drive.ranges) == 1
    drive.items["odd-file"]["more"] |= {"modifiedTime": "2026-11-22T10:00:00.000Z"}
    drive.items["odd-file"]["content"] = bytes([1]) * 2500
    assert fetched(tmp_path) == {"odd.bin": bytes([1]) * 2500}


def test_what_drive_takes_for_malware_must_be_asked_for(drive: Drive, tmp_path: Path) -> None:
    drive.add("some-file", "tool.exe", content=b"tool")
    drive.abuse.add("some-file")
    with pytest.raises(UserError, match=r"My data/tool\.exe .*malware.*acknowledge_abuse=True"):
        fetched(tmp_path)
    assert fetched(tmp_path, acknowledge_abuse=True) == {"tool.exe": b"tool"}


@pytest.mark.parametrize(
    "failure", [(403, RATE_LIMIT), (429, {}), (500, b"<html>"), (503, {"error": None})]
)
def test_a_busy_drive_is_asked_again(
    drive: Drive, tmp_path: Path, failure: tuple[int, Any]
) -> None:
    drive.add("some-file", "some.txt", content=b"content")
    drive.failures += [failure] * 3
    assert fetched(tmp_path) == {"some.txt": b"content"}


def test_a_drive_that_stays_busy_is_told(drive: Drive, tmp_path: Path) -> None:
    drive.failures += [(503, {"error": {"message": "back {end} error"}})] * 99
    with pytest.raises(UserError, match=r"back \{end\} error. Run this again"):
        fetched(tmp_path)


def test_a_lost_connection_costs_no_more_than_the_rest(drive: Drive, tmp_path: Path) -> None:
    content = bytes(range(250)) * 10
    drive.add("large-file", "large.bin", content=content)
    drive.cut = [600, 0, 1000]
    assert fetched(tmp_path) == {"large.bin": content}
    assert drive.ranges == ["0-", "600-", "600-", "1600-"]


def test_a_connection_that_is_always_lost_is_told(drive: Drive, tmp_path: Path) -> None:
    drive.add("large-file", "large.bin", content=bytes(2500))
    drive.cut = [0] * 99
    with pytest.raises(UserError, match="was not downloaded: .*Run this again"):
        fetched(tmp_path)
    assert not (tmp_path / "My data").exists()
    drive.cut = []
    assert fetched(tmp_path) == {"large.bin": bytes(2500)}


def test_an_interrupted_download_goes_on(drive: Drive, tmp_path: Path) -> None:
    drive.add("large-file", "large.bin", content=bytes(2500))
    drive.cut = [2000, *[0] * 99]
    with pytest.raises(UserError):
        fetched(tmp_path)
    assert not (tmp_path / "My data").exists()  # a directory that exists is whole
    drive.cut = []
    drive.asked.clear()
    assert fetched(tmp_path) == {"large.bin": bytes(2500)}
    assert drive.ranges == ["2000-"]
    drive.asked.clear()
    fetched(tmp_path)
    assert drive.ranges == []


def test_a_server_that_ignores_ranges_sends_all_of_it_once(drive: Drive, tmp_path: Path) -> None:
    drive.add("large-file", "large.bin", content=bytes(range(250)) * 10)
    drive.whole, drive.cut = True, [700]
    assert fetched(tmp_path) == {"large.bin": bytes(range(250)) * 10}
    assert drive.ranges == ["0-", "700-"]


def test_the_rest_of_an_older_version_is_not_mixed_in(drive: Drive, tmp_path: Path) -> None:
    drive.add("large-file", "large.bin", content=b"old" * 1000)
    drive.cut = [1500, *[0] * 99]
    with pytest.raises(UserError):
        fetched(tmp_path)
    drive.cut = []
    drive.items["large-file"]["content"] = bytes(2500)
    assert fetched(tmp_path) == {"large.bin": bytes(2500)}


def test_fetched_again_it_is_as_drive_is_now(drive: Drive, tmp_path: Path) -> None:
    drive.add("first-file", "a.txt", content=b"1")
    drive.add("second-file", "b.txt", content=b"2")
    assert fetched(tmp_path) == {"a.txt": b"1", "b.txt": b"2"}
    (tmp_path / "My data/mine.txt").write_text("mine")
    del drive.items["first-file"]
    drive.items["second-file"]["content"] = b"3"
    assert fetched(tmp_path) == {"b.txt": b"3", "mine.txt": b"mine"}


def test_what_is_not_its_own_is_not_written_over(drive: Drive, tmp_path: Path) -> None:
    drive.add("first-file", "a.txt", content=b"1")
    (tmp_path / "My data").mkdir()
    (tmp_path / "My data/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="My data exists, and was not put there by exactrun"):
        fetched(tmp_path)
    assert [path.name for path in (tmp_path / "My data").iterdir()] == ["mine.txt"]


def test_a_file_that_arrives_damaged_is_refused(drive: Drive, tmp_path: Path) -> None:
    drive.add("some-file", "some.txt", content=b"content", md5Checksum="0" * 32)
    with pytest.raises(UserError, match="arrived damaged, twice"):
        fetched(tmp_path)
    assert not (tmp_path / "My data").exists()


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (404, {"error": {"message": "File not found"}}, "your account may not see it"),
        (403, {"error": {"errors": [{"reason": "x"}], "message": "no access"}}, "Ask its owner"),
        (400, b"no JSON {}", "status 400. Run this again"),
    ],
)
def test_a_refusal_says_what_to_do(
    drive: Drive, tmp_path: Path, status: int, body: Any, advice: str
) -> None:
    drive.failures += [(status, body)]
    with pytest.raises(UserError, match=f"{ROOT} was not downloaded: .*{advice}"):
        fetched(tmp_path)


def test_too_little_space_is_told_before_anything_is_downloaded(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive.add("some-file", "some.txt", content=b"content", size=str(10**18))
    with pytest.raises(UserError, match=r"the download of My data needs 1\.00EB"):
        fetched(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "link",
    [
        "https://drive.google.com/drive/folders/1AbC-dEf_GhIjKlMnOpQrStUvWxYz?usp=sharing",
        "https://drive.google.com/drive/u/0/folders/1AbC-dEf_GhIjKlMnOpQrStUvWxYz",
        "https://drive.google.com/file/d/1AbC-dEf_GhIjKlMnOpQrStUvWxYz/view?usp=drive_link",
        "https://drive.google.com/open?id=1AbC-dEf_GhIjKlMnOpQrStUvWxYz",
        "https://drive.usercontent.google.com/download?id=1AbC-dEf_GhIjKlMnOpQrStUvWxYz&authuser=0",
        "1AbC-dEf_GhIjKlMnOpQrStUvWxYz",
    ],
)
def test_links_and_ids_lead_to_drive(link: str) -> None:
    assert drive_folder.is_drive_link(link)
    assert drive_folder._id_in(link) == "1AbC-dEf_GhIjKlMnOpQrStUvWxYz"


def test_what_leads_elsewhere_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("data.zip", "https://example.org/1AbC", "my-directory-with-a-long-name-1"):
        assert not drive_folder.is_drive_link(text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1AbC-dEf_GhIjKlMnOpQrStUvWxYz").mkdir()
    assert not drive_folder.is_drive_link("1AbC-dEf_GhIjKlMnOpQrStUvWxYz")
    with pytest.raises(UserError, match="Copy link"):
        drive_folder._id_in("https://drive.google.com/drive/my-drive")


# --- The account --------------------------------------------------------------------------------


def test_in_colab_the_page_is_asked_for_the_account(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import google.auth
    import google.auth.transport.requests

    drive.add("some-file", "some.txt", content=b"content")
    monkeypatch.setattr(google.auth, "default", lambda scopes: ("the account's", None))
    sessions: list[str] = []

    def session(credentials: str) -> requests.Session:
        sessions.append(credentials)
        return requests.Session()

    monkeypatch.setattr(google.auth.transport.requests, "AuthorizedSession", session)
    with on_colab(tmp_path, monkeypatch):
        assert (fetch_drive_folder(ROOT, tmp_path / "here") / "some.txt").exists()
        assert os.environ["EXACTRUN_SIMULATED_ACCOUNT"] == "given"
    assert sessions == ["the account's"]


def test_without_credentials_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, RefreshError

    def refuse(scopes: list[str]) -> None:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", refuse)
    with pytest.raises(UserError, match="gcloud auth application-default login --scopes="):
        fetch_drive_folder(ROOT, tmp_path)

    def expired(*_: Any, **__: Any) -> None:
        raise RefreshError("expired {or} revoked")

    with pytest.raises(UserError, match=r"was not downloaded: expired \{or\} revoked"):
        fetch_drive_folder(ROOT, tmp_path, session=SimpleNamespace(get=expired))
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(UserError, match="pip install google-auth"):
        fetch_drive_folder(ROOT, tmp_path)


def test_stage_takes_links_too(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("cats/1.png", b"cat")
    drive.add("1archive-of-all-pictures", "pictures.zip", content=content.getvalue())
    drive.add("some-file", "some.txt", content=b"content")
    monkeypatch.setattr(drive_folder, "_connect", requests.Session)
    assert (stage(ROOT, tmp_path) / "some.txt").read_bytes() == b"content"
    found = stage("1archive-of-all-pictures", tmp_path)
    assert found == tmp_path / "pictures"
    assert (found / "cats/1.png").read_bytes() == b"cat"
