"""A server of server-sent events: five, 300 ms apart, each with the time when it was sent."""

import http.server
import time


class Events(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-store")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(5):
            event = b"id: %d\ndata: %.3f\n\n" % (number, time.time())
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(0.3)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Events)
print("127.0.0.1:%d" % one.server_address[1], flush=True)
one.serve_forever()
