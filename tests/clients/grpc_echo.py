"""A gRPC service and its client, without generated code: messages are plain bytes.

    grpc_echo.py server                  prints where it listens
    grpc_echo.py client TARGET [CA]      exits with 0 when everything is as it should be
"""

import sys
import threading
import time
from concurrent import futures

import grpc

ended = []


def unary(request, context):
    context.send_initial_metadata((("x-initial", "i"),))
    context.set_trailing_metadata((("x-trailer", "t"), ("x-bytes-bin", b"\x00\xff")))
    return request


def fail(request, context):
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x09details"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: ä %")


def fail_late(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "half way")


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number
        time.sleep(0.1)


def add(requests, context):
    return b"%d" % sum(int(request) for request in requests)


def chat(requests, context):
    for request in requests:
        yield request.upper()


def slow(request, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(30)
    ended.append(time.time())
    return b""


def how_many_ended(request, context):
    return b"%d" % len(ended)


def server():
    handler = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Add": grpc.stream_unary_rpc_method_handler(add),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "Ended": grpc.unary_unary_rpc_method_handler(how_many_ended),
    }
    one = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    one.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handler),))
    port = one.add_insecure_port("127.0.0.1:0")
    one.start()
    print(f"127.0.0.1:{port}", flush=True)
    one.wait_for_termination()


def client(target, ca=None):
    options = (("grpc.max_receive_message_length", 1 << 24),)
    if ca:
        credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
        channel = grpc.secure_channel(target, credentials, options)
    else:
        channel = grpc.insecure_channel(target, options)
    path = "/echo.Echo/"
    answers(channel, path)
    errors(channel, path)
    streams(channel, path)
    ends(channel, path)
    channel.close()
    print("all is well", flush=True)


def answers(channel, path):
    call = channel.unary_unary(path + "Unary")
    answer, info = call.with_call(b"hello", metadata=(("x-asked", "1"),), timeout=5)
    assert answer == b"hello", answer
    assert dict(info.initial_metadata())["x-initial"] == "i"
    trailers = dict(info.trailing_metadata())
    assert trailers["x-trailer"] == "t", trailers
    assert trailers["x-bytes-bin"] == b"\x00\xff", trailers
    large = b"x" * (3 << 20)
    assert call(large, timeout=20) == large
    assert call(b"", timeout=5) == b""


def errors(channel, path):
    try:
        channel.unary_unary(path + "Fail")(b"", timeout=5)
        raise AssertionError("it should fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "not like this: ä %", error.details()
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert details == b"\x08\x09details", details
    late = channel.unary_stream(path + "FailLate")(b"", timeout=5)
    assert next(late) == b"one"
    try:
        next(late)
        raise AssertionError("it should fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DATA_LOSS, error


def streams(channel, path):
    arrivals = []
    for message in channel.unary_stream(path + "Count")(b"5", timeout=10):
        arrivals.append(time.monotonic())
        assert message == b"%d" % (len(arrivals) - 1)
    assert len(arrivals) == 5
    gaps = [after - before for before, after in zip(arrivals, arrivals[1:])]
    assert min(gaps) > 0.03, f"messages came together: {gaps}"

    numbers = (b"%d" % number for number in range(1000))
    assert channel.stream_unary(path + "Add")(numbers, timeout=20) == b"499500"

    # Each message is sent only after the one before has come back.
    came_back = threading.Semaphore(1)

    def words():
        for word in (b"one", b"two", b"three"):
            assert came_back.acquire(timeout=5)
            time.sleep(0.6)
            yield word

    heard = []
    for message in channel.stream_stream(path + "Chat")(words(), timeout=10):
        heard.append(message)
        came_back.release()
    assert heard == [b"ONE", b"TWO", b"THREE"], heard


def ends(channel, path):
    ended_before = int(channel.unary_unary(path + "Ended")(b"", timeout=5))
    slow_call = channel.unary_unary(path + "Slow")
    started = time.monotonic()
    try:
        slow_call(b"", timeout=0.5)
        raise AssertionError("it should not be answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - started < 3
    future = slow_call.future(b"", timeout=20)
    time.sleep(0.3)
    future.cancel()
    assert future.cancelled()
    # The service hears of both.
    deadline = time.monotonic() + 5
    while int(channel.unary_unary(path + "Ended")(b"", timeout=5)) < ended_before + 2:
        assert time.monotonic() < deadline, "a cancelled call goes on in the service"
        time.sleep(0.05)


if sys.argv[1] == "server":
    server()
else:
    client(*sys.argv[2:])
