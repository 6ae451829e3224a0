"""A chat server on loopback that does as it is told: answers well, or fails in one of the ways that servers fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[["_Handler", Mapping[str, Any]], None]
"""Handles one request, given its body."""


@dataclass
class Seen:
    """One request as it came."""

    at: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class FaultServer:
    """Answers each request with the next act of the script, and once that is used up with `otherwise`."""

    otherwise: Act
    script: list[Act] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    most_at_once: int = 0

    def __enter__(self) -> FaultServer:
        self._lock, self._now, self.closing = threading.Lock(), 0, threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.stage = self
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def enter(self, seen: Seen) -> Act:
        with self._lock:
            self.seen.append(seen)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return self.script.pop(0) if self.script else self.otherwise

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        stage = self.server.stage
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        act = stage.enter(Seen(time.monotonic(), self.path, dict(self.headers), body))
        try:
            act(self, body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client had gone: it timed out
        finally:
            stage.leave()

    def send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(content),
            **(headers or {}),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def completion(text: str | None, **more: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, **more}
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def says(text: str | Callable[[Mapping[str, Any]], str | None] | None, after: float = 0.0, **more: Any) -> Act:
    """Answer with a text, or with what a function makes of the request's body."""

    def act(handler: _Handler, body: Mapping[str, Any]) -> None:
        time.sleep(after)
        handler.send(200, completion(text(body) if callable(text) else text, **more))

    return act


def fails(status: int, message: str = "out of order", code: str | None = None, **headers: str) -> Act:
    """Answer with an error; `headers` with underscores for hyphens."""
    content = json.dumps({"error": {"message": message, "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, body: handler.send(status, content, named)


def sends(content: bytes) -> Act:
    """Answer 200 with these bytes."""
    return lambda handler, body: handler.send(200, content)


def hangs(handler: _Handler, body: Mapping[str, Any]) -> None:
    """Say nothing until the server closes."""
    handler.server.stage.closing.wait(30)
    handler.close_connection = True


def cuts(handler: _Handler, body: Mapping[str, Any]) -> None:
    """Promise more than is sent, and close."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.close_connection = True
