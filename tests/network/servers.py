"""What guests talk to: servers on loopback addresses, each a thread."""

import hashlib
import http.server
import os
import socket
import socketserver
import struct
import threading

BLOCK = os.urandom(16 << 20)
MD5 = hashlib.md5(BLOCK).hexdigest()
SMALL = b"what goes over udp goes over tcp\n"


class Http(http.server.BaseHTTPRequestHandler):
    """/data?N: the block N times; /small; /done once `done` is set."""

    done = threading.Event()

    def do_GET(self):
        path, _, count = self.path.partition("?")
        blocks = {"/data": [BLOCK] * int(count or 1), "/small": [SMALL], "/done": [b"done\n"] if self.done.is_set() else None}
        body = blocks.get(path)
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(sum(map(len, body))))
        self.end_headers()
        for block in body:
            self.wfile.write(block)

    def log_message(self, *_):
        pass


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


class Sink(socketserver.BaseRequestHandler):
    """Takes blocks; what came is in `blocks`, whether each was right in `right`."""

    blocks, right = 0, True

    def handle(self):
        at, twice = 0, BLOCK + BLOCK[: 1 << 20]
        while chunk := self.request.recv(1 << 20):
            Sink.right = Sink.right and chunk == twice[at : at + len(chunk)]
            at += len(chunk)
            Sink.blocks += at // len(BLOCK)
            at %= len(BLOCK)
        Sink.right = Sink.right and at == 0


def gather(count):
    """Accepts `count` connections, then tells each that they were together, and keeps them until so many more have come."""
    server = socket.create_server(("127.0.0.1", 9003), backlog=count)
    while True:
        together = [server.accept()[0] for _ in range(count)]
        for peer in together:
            peer.sendall(b"together\n")


def dns():
    """Answers every question of kind A with 192.0.2.77."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, peer = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        is_a = query[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 77]) if is_a else b""
        server.sendto(query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0) + query[12:end] + answer, peer)


def tftp():
    """One short file, whatever is asked for."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 9069))
    while True:
        request, peer = server.recvfrom(1024)
        if request[:2] == b"\0\1":
            server.sendto(b"\0\3\0\1" + SMALL, peer)


def in_thread(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def start(address="127.0.0.1"):
    in_thread(http.server.ThreadingHTTPServer((address, 9001), Http).serve_forever)


def start_all():
    start()
    in_thread(Server6(("::1", 9001), Http).serve_forever)
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    in_thread(socketserver.ThreadingTCPServer(("127.0.0.1", 9002), Sink).serve_forever)
    in_thread(gather, 200)
    in_thread(dns)
    in_thread(tftp)
