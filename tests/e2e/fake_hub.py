"""A model hub and its content server on 127.0.0.1, with faults on request.

FakeHub speaks the part of the hub's protocol that a download needs; large files are redirected to a
second server, as the real hub does. Both keep a log of the requests they saw. A fault is a function of
the request (a Handler) that answers in place of the server and returns True, or returns False; faults
are asked in order before every request.
"""

import hashlib
import http.server
import json
import ssl
import sys
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body are written apart; the client waits for both.

    def log_message(self, *_):
        pass

    def do_GET(self):
        owner = self.server.owner
        with owner.lock:
            owner.log.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            faults = list(owner.faults)
        for fault in faults:
            if fault(self):
                return
        owner.answer(self)

    def send(self, status, body=b"", **headers):
        """A whole answer; underscores in header names are dashes."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # The client had enough.

    def range_of(self, content):
        """[begin, end) of the Range header, or None."""
        text = self.headers.get("Range")
        if text is None:
            return None
        begin, end = text.removeprefix("bytes=").split("-")
        return int(begin), min(int(end) + 1, len(content))

    def send_content(self, content, total=None, **headers):
        """200 or, for a request with a range, 206."""
        wanted = self.range_of(content)
        headers.setdefault("ETag", f'"{sha256(content)}"')
        if wanted is None:
            self.send(200, content, **headers)
            return
        begin, end = wanted
        self.send(206, content[begin:end], Content_Range=f"bytes {begin}-{end - 1}/{total or len(content)}",
                  **headers)

    def cut(self, content, num_bytes):
        """Promises a range and closes the connection after num_bytes of it."""
        begin, end = self.range_of(content)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", f'"{sha256(content)}"')
        self.end_headers()
        self.wfile.write(content[begin:begin + num_bytes])
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # All connections of a client at once.

    def handle_error(self, request, client_address):
        """Clients that leave or are killed are part of the tests."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class LoggingServer:
    """Base of both servers: a thread, a log and faults. With a certificate, the paths of it and its
    key, over TLS."""

    def __init__(self, certificate=None):
        self.lock = threading.Lock()
        self.log = []
        self.faults = []
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.owner = self
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is made by the thread that answers.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def paths(self):
        with self.lock:
            return [path for path, _ in self.log]

    def headers_seen(self, name):
        with self.lock:
            return [headers[name] for _, headers in self.log if name in headers]

    def ranges(self, part):
        """The Range headers of requests whose path holds `part`."""
        with self.lock:
            return [headers["range"].removeprefix("bytes=") for path, headers in self.log
                    if part in path and "range" in headers]

    def clear_log(self):
        with self.lock:
            self.log.clear()

    def once(self, fault):
        """Lets `fault` answer one request."""
        answering = threading.Lock()  # Requests come several at once.

        def wrapper(request):
            with answering:
                if wrapper not in self.faults or not fault(request):
                    return False
                with self.lock:
                    self.faults.remove(wrapper)
                return True
        self.faults.append(wrapper)


class ContentServer(LoggingServer):
    """Files by checksum, with ranges."""

    def __init__(self, certificate=None):
        super().__init__(certificate)
        self.contents = {}

    def answer(self, request):
        content = self.contents.get(request.path.strip("/").split("?")[0])
        if content is None:
            request.send(404, b"gone")
        else:
            request.send_content(content)


class FakeHub(LoggingServer):
    """Repositories: name to {path: content}. Files ending in .gguf or .safetensors are large."""

    def __init__(self, certificate=None):
        self.repositories = {}
        self.commit = COMMIT
        self.page_size = 1000
        self.content = ContentServer(certificate)
        super().__init__(certificate)

    def close(self):
        super().close()
        self.content.close()

    def add(self, name, files):
        self.repositories[name] = files
        for content in files.values():
            self.content.contents[sha256(content)] = content

    @staticmethod
    def is_large(path):
        return path.endswith((".gguf", ".safetensors", ".bin"))

    def answer(self, request):
        parsed = urllib.parse.urlsplit(request.path)
        path = urllib.parse.unquote(parsed.path)
        query = urllib.parse.parse_qs(parsed.query)
        if path == "/api/models":
            words = query["search"][0]
            request.send(200, [{"id": name} for name in self.repositories if words in name])
            return
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        parts = parts[2:] if is_api else parts
        name, verb, revision = "/".join(parts[:2]), parts[2], parts[3]
        files = self.repositories.get(name)
        if files is None:
            request.send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        elif revision not in ("main", "v1", self.commit):
            request.send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        elif is_api and verb == "revision":
            request.send(200, {"id": name, "sha": self.commit, "siblings": []})
        elif is_api and verb == "tree":
            self.send_tree(request, name, query)
        else:
            self.send_file(request, files, "/".join(parts[4:]))

    def entry(self, path, content):
        entry = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
        if self.is_large(path):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
        return entry

    def send_tree(self, request, name, query):
        entries = [self.entry(path, content) for path, content in self.repositories[name].items()]
        entries.append({"type": "directory", "path": "folder", "size": 0, "oid": COMMIT})
        begin = int(query.get("cursor", ["0"])[0])
        headers = {}
        if begin + self.page_size < len(entries):
            url = f"{self.url}/api/models/{name}/tree/{self.commit}"
            headers["Link"] = (f'<{url}?recursive=1&cursor={begin + self.page_size}>; rel="next"')
        request.send(200, entries[begin:begin + self.page_size], **headers)

    def send_file(self, request, files, path):
        content = files.get(path)
        if content is None:
            request.send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        elif self.is_large(path):
            request.send(302, X_Repo_Commit=self.commit, X_Linked_Size=len(content),
                         X_Linked_Etag=f'"{sha256(content)}"', Accept_Ranges="bytes",
                         Location=f"{self.content.url}/{sha256(content)}?signature=secret")
        else:
            request.send_content(content, X_Repo_Commit=self.commit, ETag=f'"{git_sha1(content)}"')
