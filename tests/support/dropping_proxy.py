"""A forward proxy that drops responses: it closes both connections when one arrives."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_REQUEST_LINE = re.compile(rb"(CONNECT |[A-Z]+ http://)([^/ :]+):([0-9]+)")


class DroppingProxy:
    """``drops`` is set to drop the next response, whatever the connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.drops = False

    def serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = client.recv(65536)
            match = _REQUEST_LINE.match(head)
            if match is None:
                return
            with socket.create_connection((match[2].decode(), int(match[3]))) as server:
                if match[1] == b"CONNECT ":
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    server.sendall(head)
                threading.Thread(target=self._relay, args=(client, server), daemon=True).start()
                while (received := server.recv(65536)) and not self.drops:
                    client.sendall(received)
                self.drops = False
                for end in (client, server):
                    end.shutdown(socket.SHUT_RDWR)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while received := client.recv(65536):
                server.sendall(received)


@contextmanager
def dropping_proxy() -> Iterator[DroppingProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = DroppingProxy(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield proxy
