"""A WebSocket server and its client.

    websocket.py server              prints where it listens
    websocket.py client URL [CA]     exits with 0 when everything is as it should be
"""

import asyncio
import ssl
import sys

import websockets


async def echo(socket, path=None):
    await socket.send(f"welcome to {socket.path}")
    async for message in socket:
        if message == "goodbye":
            await socket.close(4000, "as you like")
            return
        await socket.send(message)


async def server():
    one = await websockets.serve(echo, "127.0.0.1", 0, max_size=1 << 24, subprotocols=["chat"])
    host, port = one.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await asyncio.Future()


async def client(url, ca=None):
    context = ssl.create_default_context(cafile=ca) if ca else None
    options = {"max_size": 1 << 24, "subprotocols": ["chat"]}
    async with websockets.connect(url, ssl=context, **options) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        assert (await socket.recv()).startswith("welcome to /")
        for message in ("hello", "ä" * 10_000, b"\x00\xff" * (1 << 20)):
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), 10) == message
        await asyncio.wait_for(await socket.ping(), 5)
        # Silence is no reason to end it.
        await asyncio.sleep(1.5)
        await socket.send("still there")
        assert await asyncio.wait_for(socket.recv(), 5) == "still there"
        await socket.send("goodbye")
        try:
            await asyncio.wait_for(socket.recv(), 5)
            raise AssertionError("it should be closed")
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd.code == 4000 and closed.rcvd.reason == "as you like", closed
    print("all is well", flush=True)


if sys.argv[1] == "server":
    asyncio.run(server())
else:
    asyncio.run(client(*sys.argv[2:]))
