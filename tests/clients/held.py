"""Very many connections that are held.

`held.py endpoint` prints where it listens, and sends back what it gets.
`held.py client ADDRESS COUNT` connects so often and prints `held`; then for each line that it reads it sends a byte over each
connection, waits until all have come back, and prints `all`.
"""

import resource
import select
import socket
import sys

TIMEOUT = 60
AT_A_TIME = 200


def endpoint():
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print("%s:%d" % listener.getsockname(), flush=True)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    held = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                stream, _ = listener.accept()
                held[stream.fileno()] = stream
                poll.register(stream, select.EPOLLIN)
                continue
            try:
                octets = held[number].recv(4096)
            except OSError:
                octets = b""
            if octets:
                held[number].send(octets)
            else:
                poll.unregister(number)
                held.pop(number).close()


def client(address, count):
    host, port = address.rsplit(":", 1)
    held = []
    while len(held) < count:
        some = []
        for _ in range(min(AT_A_TIME, count - len(held))):
            stream = socket.create_connection((host, int(port)), timeout=TIMEOUT)
            stream.send(b"a")
            some.append(stream)
        for stream in some:
            assert stream.recv(1) == b"a", "it came back"
        held += some
    print("held", flush=True)
    for _ in sys.stdin:
        for at in range(0, count, AT_A_TIME):
            for stream in held[at : at + AT_A_TIME]:
                stream.send(b"b")
            for stream in held[at : at + AT_A_TIME]:
                assert stream.recv(1) == b"b", "it came back"
        print("all", flush=True)


_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
if sys.argv[1] == "endpoint":
    endpoint()
else:
    client(sys.argv[2], int(sys.argv[3]))
