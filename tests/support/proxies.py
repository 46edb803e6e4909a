"""Forward proxies that lose responses."""

import re
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress

from tests.support.programs import require_program
from tests.support.servers import free_port, wait_until

_REQUEST_LINE = re.compile(rb"(CONNECT |[A-Z]+ http://)([^/ :]+):([0-9]+)")


class _Proxy:
    """``lose_response`` loses the one that comes next; then ``is_ready`` tells when to go on."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.is_ready = threading.Event()
        self.is_ready.set()

    @contextmanager
    def running(self):
        self.start()
        try:
            yield
        finally:
            self.stop()


class Tinyproxy(_Proxy):
    """tinyproxy. It loses responses because it is killed, and started again at its address.

    ``log`` is a file that names the hosts of CONNECT requests.
    """

    def start(self):
        program = require_program("tinyproxy")
        self.log = self.folder / "tinyproxy.log"
        self.log.unlink(missing_ok=True)
        configuration = self.folder / "tinyproxy.conf"
        configuration.write_text(
            f'Listen 127.0.0.1\nPort {self.port}\nLogFile "{self.log}"\nLogLevel Info\n'
        )
        self._process = subprocess.Popen([program, "-d", "-c", configuration])
        wait_until(self._is_listening, "tinyproxy")

    def _is_listening(self):
        return self.log.exists() and "Accepting connections" in self.log.read_text()

    def stop(self):
        self._process.kill()
        self._process.wait(10)

    def lose_response(self):
        self.is_ready.clear()
        self.stop()
        self.start()
        self.is_ready.set()


class DroppingProxy(_Proxy):
    """A proxy that closes both connections when the next response arrives."""

    def start(self):
        self._drops = False
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone does not end a waiting accept
        self._listener.close()
        for connection in self._connections:
            self._end(connection)

    def lose_response(self):
        """Lose the next response, whatever the connection it comes from."""
        self._drops = True

    def _accept(self, listener):
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client):
        with client, suppress(OSError):
            head = client.recv(65536)
            match = _REQUEST_LINE.match(head)
            if match is None:
                return
            with socket.create_connection((match[2].decode(), int(match[3])), 30) as server:
                self._connections += [client, server]
                if match[1] == b"CONNECT ":
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    server.sendall(head)
                threading.Thread(target=self._relay, args=(client, server), daemon=True).start()
                while received := server.recv(65536):
                    if self._drops:
                        self._drops = False
                        break
                    client.sendall(received)
                for end in (client, server):
                    self._end(end)

    def _end(self, connection):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def _relay(self, client, server):
        with suppress(OSError):
            while received := client.recv(65536):
                server.sendall(received)
