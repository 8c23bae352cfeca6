"""A server on a port of its own, in a thread of its own, as long as it is entered."""

from __future__ import annotations

import threading
from socketserver import TCPServer
from typing import Self

POLL = 0.05  # seconds in which it notices that it is to end


class Listening:
    """Base of the servers for trials: `url` is where this one listens."""

    def __init__(self, server: TCPServer) -> None:
        self._server = server
        host, port = server.socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self) -> None:
        """Until the server stops or the process is interrupted."""
        while self._thread.is_alive():
            self._thread.join(1)
