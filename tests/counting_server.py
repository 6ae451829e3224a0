"""A tiny OpenAI-compatible server on loopback that counts what it is asked; a stand-in that never fails."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

PROMPT_TOKENS, COMPLETION_TOKENS = 100, 5


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed in these tests."""


class CountingServer:
    """Answers every chat with the first candidate, or as it is told.

    Parameters
    ----------
    delay : float
        Seconds before an answer.
    usage : bool
        Whether it counts tokens.
    fail_first : int
        Requests that it refuses before it answers any.
    answer : callable
        Makes the text of an answer from the body of a request.

    Attributes
    ----------
    asked : Counter
        Requests received, by what they ask.
    answered : Counter
        Requests whose answer was handed over whole.
    keys : set of str
        Authorization headers seen.
    """

    def __init__(
        self,
        delay: float = 0.0,
        usage: bool = True,
        fail_first: int = 0,
        answer: Callable[[dict[str, Any]], str] = lambda body: '{"answer": "1"}',
    ) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.delay, self.usage, self.fail_first, self.answer = delay, usage, fail_first, answer
        self._lock = threading.Lock()
        self._http = _Quiet(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def n_asked(self) -> int:
        return sum(self.asked.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _reply(self, key: str | None, body: dict[str, Any]) -> tuple[int, str, dict[str, Any]]:
        what = hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()
        with self._lock:
            self.asked[what] += 1
            self.keys.add(key or "")
            failing = self.n_asked <= self.fail_first
        time.sleep(self.delay)
        if failing:
            return 401, what, {"error": {"message": f"no such key: {key}", "code": "invalid_api_key"}}
        choice = {"index": 0, "message": {"role": "assistant", "content": self.answer(body)}, "finish_reason": "stop"}
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 105}
        return (
            200,
            what,
            {"id": "1", "object": "chat.completion", "choices": [choice]} | ({"usage": usage} if self.usage else {}),
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, what, reply = server._reply(self.headers.get("Authorization"), body)
                sent = json.dumps(reply).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(sent)))
                    self.end_headers()
                    self.wfile.write(sent)
                except OSError:
                    return  # the client was killed
                if status == 200:
                    with server._lock:
                        server.answered[what] += 1

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler
