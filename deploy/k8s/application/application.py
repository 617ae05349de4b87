"""An example application: whoever posts a recording to it gets the text, which it has from its proxy."""

import http.server
import os
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path

ASR_URL = os.environ["ASR_URL"]
TOKEN = Path(os.environ["ASR_TOKEN_FILE"]).read_text().strip() if "ASR_TOKEN_FILE" in os.environ else None
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is in this pod or cluster: never through the company's proxy
LONGEST = 300.0


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, b"well\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = urllib.request.Request(f"{ASR_URL}/v1/recognize?response_format=text", data=body)
        request.add_header("Content-Type", "application/octet-stream")
        if TOKEN is not None:
            request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with DIRECT.open(request, timeout=LONGEST) as answer:
                self._answer(200, answer.read())
        except urllib.error.HTTPError as error:  # the proxy says what is wrong and what to do
            self._answer(error.code, error.read())
        except OSError as error:
            self._answer(502, f"{error}\n".encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for what is in flight


if __name__ == "__main__":
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Application)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    server.server_close()
