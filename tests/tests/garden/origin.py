"""Python's HTTP servers, each with the same application: `origin.py KIND`.

The application writes a line of JSON for each request that was executed, and answers with the mark
it found in the target. Text stands for bytes, a char each (ISO 8859-1).
"""
import json
import logging
import os
import re
import socket
import sys


def executed(method, target, body):
    """Writes the ledger; the mark of the request."""
    line = json.dumps({"method": method, "target": target, "body": body.hex()})
    os.write(1, line.encode() + b"\n")
    found = re.search(r"/([msp]/\d+)", target)
    return found.group(1) if found else "none"


def latin(text):
    """Servers decode what they read in several ways; the bytes again."""
    try:
        return text.encode("latin-1").decode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")


def wsgi(environ, start_response):
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    mark = executed(environ["REQUEST_METHOD"], latin(target), environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", "2"), ("X-Mark", mark)])
    return [b"ok"]


async def asgi(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    mark = executed(scope["method"], target.decode("latin-1"), body)
    headers = [(b"content-length", b"2"), (b"x-mark", mark.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def http_server(sock):
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            # As many handlers do: a coding is not looked at, a length that is no number is none.
            try:
                length = int(self.headers.get("Content-Length") or 0)
            except ValueError:
                length = 0
            body = self.chunks() if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower() \
                else self.rfile.read(max(length, 0))
            # `self.path` would have leading slashes collapsed.
            mark = executed(self.command, self.requestline.split()[1], body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("X-Mark", mark)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"ok")

        def chunks(self):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body

        def __getattr__(self, name):
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass

    server = Server(sock.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    server.serve_forever()


def gunicorn(sock):
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self):
            settings = {"bind": f"fd://{sock.fileno()}", "workers": 1, "worker_class": "gthread",
                        "threads": 16, "keepalive": 5, "loglevel": "critical"}
            for key, value in settings.items():
                self.cfg.set(key, value)

        def load(self):
            return wsgi

    sock.set_inheritable(True)
    Application().run()


def uvicorn(parser):
    def run(sock):
        from uvicorn import Config, Server
        config = Config(asgi, http=parser, ws="none", log_level="critical", lifespan="off")
        Server(config).run(sockets=[sock])
    return run


def waitress(sock):
    from waitress import serve
    logging.disable()
    serve(wsgi, sockets=[sock], threads=16)


def tornado(sock):
    import asyncio
    from tornado.httpserver import HTTPServer
    from tornado.httputil import HTTPHeaders, ResponseStartLine
    logging.disable()

    def answer(request):
        mark = executed(request.method, latin(request.uri), request.body)
        request.connection.write_headers(
            ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders({"Content-Length": "2", "X-Mark": mark}),
            b"" if request.method == "HEAD" else b"ok")
        request.connection.finish()

    async def main():
        sock.setblocking(False)
        HTTPServer(answer).add_sockets([sock])
        await asyncio.Event().wait()

    asyncio.run(main())


def aiohttp(sock):
    import asyncio
    from aiohttp import web
    logging.disable()

    async def answer(request):
        body = await request.read()
        mark = executed(request.method, latin(request.raw_path), body)
        return web.Response(body=b"ok", headers={"X-Mark": mark})

    async def main():
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        await web.SockSite(runner, sock).start()
        await asyncio.Event().wait()

    asyncio.run(main())


KINDS = {"http.server": http_server, "gunicorn": gunicorn, "uvicorn-h11": uvicorn("h11"),
         "uvicorn-httptools": uvicorn("httptools"), "waitress": waitress, "tornado": tornado,
         "aiohttp": aiohttp}

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(512)
os.write(1, b"ready port=%d\n" % listener.getsockname()[1])
KINDS[sys.argv[1]](listener)
