"""A folder of Drive, downloaded by Google's own client from a small server of this test."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build

from {{ cookiecutter.__package }}.colab import drive_api
from {{ cookiecutter.__package }}.errors import UserError

FOLDER = drive_api.FOLDER
RATE_LIMIT = {"error": {"errors": [{"reason": "userRateLimitExceeded"}], "message": "slow down"}}


@dataclass
class Drive:
    """What the server holds, does and was asked.

    Attributes:
        items: Files and folders by id: name, type, parent and bytes.
        failures: Status and body of the next answers, before it does as it is told.
        cut: After so many bytes, the next answer's connection is lost.
        asked: The path and range of each request.
    """

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    cut: int = 0
    asked: list[str] = field(default_factory=list)
    page: int = 2
    service: Any = None

    def add(
        self, id: str, name: str, parent: str, content: bytes = b"", kind: str = "text/plain"
    ) -> None:
        self.items[id] = {"name": name, "parent": parent, "kind": kind, "content": content}

    def describe(self, id: str) -> dict[str, Any]:
        item = self.items[id]
        described = {"id": id, "name": item["name"], "mimeType": item["kind"]}
        if not item["kind"].startswith(drive_api.GOOGLE):
            described["size"] = str(len(item["content"]))
            described["md5Checksum"] = hashlib.md5(item["content"]).hexdigest()
        return described


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """A Drive with the folder `root`, and a client of it that doesn't wait between attempts."""
    held = Drive()
    held.add("root-folder", "My data", "", kind=FOLDER)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            held.asked.append(f"{address.path} {self.headers.get('range', '')}".strip())
            if held.failures:
                status, told = held.failures.pop(0)
                return self.answer(status, json.dumps(told).encode())
            assert query["supportsAllDrives"] == "true"
            id = address.path.rpartition("/")[2]
            if id == "files":
                return self.answer_list(query)
            if id not in held.items:
                return self.answer(404, b'{"error": {"message": "File not found"}}')
            if query.get("alt") == "media":
                content = held.items[id]["content"]
                first, last = re.findall(r"\d+", self.headers["range"])
                return self.answer(206, content[int(first) : int(last) + 1])
            return self.answer(200, json.dumps(held.describe(id)).encode())

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
            self.answer(200, json.dumps(told).encode())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if held.cut and status == 206:
                body, held.cut, self.close_connection = body[: held.cut], 0, True
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    held.service = build(
        "drive",
        "v3",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{server.server_port}/drive/v3/"},
        static_discovery=True,
        cache_discovery=False,
    )
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(drive_api, "BLOCK", 1000)
    yield held
    server.shutdown()
    server.server_close()


def fetched(drive: Drive, target: Path) -> dict[str, bytes]:
    folder = drive_api.fetch("root-folder", target, service=drive.service).folder
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_tree_arrives_page_by_page(drive: Drive, tmp_path: Path) -> None:
    for number in range(5):
        drive.add(f"file-{number}", f"{number}.txt", "root-folder", b"%d" % number)
    drive.add("inner-folder", "inner", "root-folder", kind=FOLDER)
    drive.add("empty-file", "empty.txt", "inner-folder")
    drive.add("large-file", "large.bin", "inner-folder", bytes(range(256)) * 20)
    assert fetched(drive, tmp_path) == {
        **{f"{number}.txt": b"%d" % number for number in range(5)},
        "inner/empty.txt": b"",
        "inner/large.bin": bytes(range(256)) * 20,
    }


def test_same_names_do_not_overwrite_each_other(drive: Drive, tmp_path: Path) -> None:
    drive.add("first-one", "notes.txt", "root-folder", b"first")
    drive.add("second-one", "Notes.txt", "root-folder", b"second")
    assert fetched(drive, tmp_path) == {
        "notes (first-one).txt": b"first",
        "Notes (second-one).txt": b"second",
    }


def test_no_name_leads_out_of_the_folder(drive: Drive, tmp_path: Path) -> None:
    drive.add("upwards-1", "../../evil.txt", "root-folder", b"1")
    drive.add("upwards-2", "..", "root-folder", b"2")
    assert set(fetched(drive, tmp_path)) == {".._.._evil.txt", "_"}


def test_documents_of_google_are_listed_as_skipped(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive.add("document-1", "Plan", "root-folder", kind=f"{drive_api.GOOGLE}document")
    found = drive_api.fetch("root-folder", tmp_path, service=drive.service)
    assert (found.files, found.skipped) == ((), ("My data/Plan",))
    assert "Skipped, as it has no bytes: My data/Plan (document)" in capsys.readouterr().out


@pytest.mark.parametrize("failure", [(403, RATE_LIMIT), (429, {}), (500, {}), (503, {})])
def test_a_busy_drive_is_asked_again(
    drive: Drive, tmp_path: Path, failure: tuple[int, dict[str, Any]]
) -> None:
    drive.add("some-file", "some.txt", "root-folder", b"content")
    drive.failures += [failure] * 3
    assert fetched(drive, tmp_path) == {"some.txt": b"content"}


def test_a_lost_connection_costs_no_more_than_the_rest(drive: Drive, tmp_path: Path) -> None:
    content = bytes(range(250)) * 10
    drive.add("large-file", "large.bin", "root-folder", content)
    drive.cut = 600
    assert fetched(drive, tmp_path) == {"large.bin": content}
    assert [asked.rpartition("=")[2] for asked in drive.asked if "bytes" in asked] == [
        "0-999",
        "600-1599",
        "1600-2499",
    ]


def test_an_interrupted_download_goes_on(drive: Drive, tmp_path: Path) -> None:
    drive.add("large-file", "large.bin", "root-folder", bytes(2500))
    partial = tmp_path / "My data/.large.bin.partial"
    partial.parent.mkdir()
    partial.write_bytes(bytes(2000))
    assert fetched(drive, tmp_path) == {"large.bin": bytes(2500)}
    assert [asked.rpartition("=")[2] for asked in drive.asked if "bytes" in asked] == ["2000-2499"]
    drive.asked.clear()
    fetched(drive, tmp_path)
    assert [asked for asked in drive.asked if "bytes" in asked] == []


def test_the_rest_of_an_older_version_is_not_mixed_in(drive: Drive, tmp_path: Path) -> None:
    drive.add("large-file", "large.bin", "root-folder", bytes(2500))
    partial = tmp_path / "My data/.large.bin.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"old" * 500)
    assert fetched(drive, tmp_path) == {"large.bin": bytes(2500)}


def test_a_file_that_arrives_damaged_is_refused(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive.add("some-file", "some.txt", "root-folder", b"content")
    describe = Drive.describe
    monkeypatch.setattr(
        Drive, "describe", lambda self, id: describe(self, id) | {"md5Checksum": "0" * 32}
    )
    with pytest.raises(UserError, match="arrived damaged, twice"):
        fetched(drive, tmp_path)
    assert list((tmp_path / "My data").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (404, {"error": {"message": "File not found"}}, "your account may not see it"),
        (403, {"error": {"errors": [{"reason": "x"}], "message": "no access"}}, "Ask its owner"),
    ],
)
def test_a_refusal_says_what_to_do(
    drive: Drive, tmp_path: Path, status: int, body: dict[str, Any], advice: str
) -> None:
    drive.failures += [(status, body)]
    with pytest.raises(UserError, match=f"root-folder was not downloaded: .*{advice}"):
        fetched(drive, tmp_path)


@pytest.mark.parametrize(
    "link",
    [
        "https://drive.google.com/drive/folders/1AbC-dEf_GhIjKlMnOpQrStUvWxYz?usp=sharing",
        "https://drive.google.com/drive/u/0/folders/1AbC-dEf_GhIjKlMnOpQrStUvWxYz",
        "https://drive.google.com/file/d/1AbC-dEf_GhIjKlMnOpQrStUvWxYz/view?usp=drive_link",
        "https://drive.google.com/open?id=1AbC-dEf_GhIjKlMnOpQrStUvWxYz",
        "1AbC-dEf_GhIjKlMnOpQrStUvWxYz",
    ],
)
def test_links_and_ids_lead_to_drive(link: str) -> None:
    assert drive_api.leads_to_drive(link)
    assert drive_api.drive_id(link) == "1AbC-dEf_GhIjKlMnOpQrStUvWxYz"


def test_a_link_to_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="Copy link"):
        drive_api.drive_id("https://drive.google.com/drive/my-drive")
