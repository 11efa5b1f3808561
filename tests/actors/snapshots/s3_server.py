"""As much of S3 as pyarrow's client asks for, over HTTP on this machine, in memory.

The client is the real one: signing, multipart uploads, listings page by page, copy instead of
rename.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE_KEYS = 3  # few, so that listings have pages


class Bucket:
    """Objects by key, and uploads that are not complete."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """One request; the path is /BUCKET/KEY."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *args: object) -> None:
        """Nothing on the console."""

    def parse(self) -> tuple[str, dict[str, str], bytes]:
        """Key, query and body."""
        parts = urlsplit(self.path)
        query = {
            name: values[0]
            for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        key = unquote(parts.path).removeprefix("/").partition("/")[2]
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = (
            unchunked(self.rfile)
            if chunked
            else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        )
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):  # within HTTP's own chunks
            body = unchunked(io.BytesIO(body))
        self.bucket.requests.append(f"{self.command} {key}")
        return key, query, body

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a response; `etag` and the like by keyword."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, key: str) -> None:
        """404 as S3 says it."""
        self.answer(404, f"<Error><Code>NoSuchKey</Code><Key>{escape(key)}</Key></Error>".encode())

    def do_HEAD(self) -> None:
        key, _, _ = self.parse()
        if not key:
            self.answer(200)
        elif key in self.bucket.objects:
            content = self.bucket.objects[key]
            self.answer(
                200,
                Content_Length=str(len(content)),
                ETag='"e"',
                Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT",
            )
        else:
            self.missing(key)

    def do_GET(self) -> None:
        key, query, _ = self.parse()
        if not key:
            self.answer(200, self.listing(query))
        elif key not in self.bucket.objects:
            self.missing(key)
        else:
            content = self.bucket.objects[key]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = map(int, wanted.groups()) if wanted else (0, len(content) - 1)
            last = min(last, len(content) - 1)
            part = content[first : last + 1]
            self.answer(
                206 if wanted else 200,
                part,
                ETag='"e"',
                Content_Range=f"bytes {first}-{last}/{len(content)}",
            )

    def do_PUT(self) -> None:
        key, query, body = self.parse()
        if "uploadId" in query:
            self.bucket.uploads[query["uploadId"]][int(query["partNumber"])] = body
            self.answer(200, ETag='"e"')
        elif source := self.headers.get("x-amz-copy-source"):
            name = unquote(source).removeprefix("/").partition("/")[2]
            if name not in self.bucket.objects:
                return self.missing(name)
            self.bucket.objects[key] = self.bucket.objects[name]
            self.answer(200, b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
        else:
            if key:
                self.bucket.objects[key] = body
            self.answer(200, ETag='"e"')
        return None

    def do_POST(self) -> None:
        key, query, body = self.parse()
        if "uploads" in query:
            number = str(len(self.bucket.uploads))
            self.bucket.uploads[number] = {}
            upload = f"<UploadId>{number}</UploadId>"
            self.answer(
                200,
                f"<InitiateMultipartUploadResult>{upload}</InitiateMultipartUploadResult>".encode(),
            )
        elif "delete" in query:
            for name in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                self.bucket.objects.pop(name, None)
            self.answer(200, b"<DeleteResult></DeleteResult>")
        else:
            parts = self.bucket.uploads.pop(query["uploadId"])
            self.bucket.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self.answer(
                200,
                b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
            )

    def do_DELETE(self) -> None:
        key, _, _ = self.parse()
        self.bucket.objects.pop(key, None)
        self.answer(204)

    def listing(self, query: dict[str, str]) -> bytes:
        """A page of keys, those below a delimiter put together."""
        prefix, delimiter, after = (
            query.get(name, "") for name in ("prefix", "delimiter", "continuation-token")
        )
        names: dict[str, bool] = {}  # by name, whether it stands for several
        for key in sorted(self.bucket.objects):
            if key.startswith(prefix):
                head, found, _ = (
                    key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
                )
                names[prefix + head + found if found else key] = bool(found)
        size = min(PAGE_KEYS, int(query.get("max-keys", 1000)))
        left = [name for name in names if name > after]
        text = ""
        for name in left[:size]:
            if names[name]:
                text += f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            else:
                length = len(self.bucket.objects[name])
                text += (
                    f"<Contents><Key>{escape(name)}</Key><Size>{length}</Size><ETag>e</ETag>"
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                )
        more = len(left) > size
        token = (
            f"<NextContinuationToken>{escape(left[size - 1])}</NextContinuationToken>"
            if more
            else ""
        )
        return (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"<KeyCount>{min(size, len(left))}</KeyCount>{text}</ListBucketResult>"
        ).encode()


def unchunked(stream: BinaryIO) -> bytes:
    """The content of a body in chunks, each behind its length,
    with the lines that may follow the last one.
    """
    content = b""
    while size := int(stream.readline().split(b";")[0], 16):
        content += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return content


@contextmanager
def running() -> Iterator[tuple[str, Bucket]]:
    """A server with one bucket; gives the URI of a directory in it."""
    bucket = Bucket()
    handler = type("BucketHandler", (Handler,), {"bucket": bucket})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = quote(f"127.0.0.1:{server.server_port}", safe="")
    try:
        yield (
            f"s3://key:secret@bucket/deep/state?endpoint_override={endpoint}&scheme=http&region=here",
            bucket,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
