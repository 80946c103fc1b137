"""Python's HTTP servers, each with the same application: `origin.py KIND`.

The application writes a line of JSON for each request that was executed, and answers with the mark
it found in the target, or, to `/answer/WHAT`, with what is asked for: `echo` tells all that the
application saw. Text stands for bytes, a char each (ISO 8859-1).
"""
import asyncio
import hashlib
import json
import logging
import os
import re
import socket
import sys
import time


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


GZIP = bytes.fromhex("1f8b08000000000002034b4c4fcccc5348cc4b514844650100363de8bb19000000")
STATUS = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 404: "Not Found", 500: "Error"}
STATUSES = {"201": 201, "204": 204, "304": 304, "404": 404, "500": 500}
PIECES = [b"one", b"two " * 300, b"three"]


class Reply:
    """What is answered: its body in one piece has a length, in several it has none."""

    def __init__(self, kind, said, peer):
        self.status = STATUSES.get(kind, 200)
        self.fields, self.delay, self.sized = [("Content-Type", "text/plain")], 0, True
        self.pieces, self.kind = [said], kind
        if self.status in (204, 304):
            self.fields, self.pieces = [("ETag", '"x"')], []
        elif kind == "201":
            self.fields.append(("Location", "/made/1"))
        elif kind in ("pieces", "slow", "sized-slow", "trailers"):
            self.pieces, self.sized = PIECES, kind == "sized-slow"
            self.delay = 0.015 if "slow" in kind else 0
        elif kind == "gzip":
            self.fields.append(("Content-Encoding", "gzip"))
            self.pieces = [GZIP]
        elif kind == "cookies":
            self.fields += [("Set-Cookie", "a=1; Path=/"), ("set-cookie", 'b="2"; Secure'), ("Set-Cookie", "c=")]
        elif kind in ("large", "large-pieces"):
            self.pieces, self.sized = [bytes(range(256)) * 256] * 16, kind == "large"
        elif kind == "fields":
            self.fields += [(f"X-F-{i}", str(i)) for i in range(60)]
            self.fields += [("X-Long", "v" * 4000), ("X-Empty", ""), ("x-lower", "\xe9")]
        elif kind == "close":
            self.fields.append(("Connection", "close"))
        elif kind == "empty":
            self.pieces = []
        elif kind == "peer":
            self.pieces = [peer.encode()]
        if self.sized and self.status not in (204, 304):
            self.fields.append(("Content-Length", str(sum(map(len, self.pieces)))))


def reply(method, target, fields, body, peer):
    """None: the target asks for nothing in particular."""
    found = re.search(r"/answer/([a-z0-9-]+)", target)
    if not found:
        return None
    said = [method, target, *(f"{name}: {value}" for name, value in fields), str(len(body)),
            hashlib.sha256(body).hexdigest()]
    return Reply(found.group(1), "\n".join(said).encode("utf-8", "surrogateescape"), peer)


def wsgi(environ, start_response):
    target, method = environ.get("RAW_URI") or environ.get("REQUEST_URI"), environ["REQUEST_METHOD"]
    body = environ["wsgi.input"].read()
    mark = executed(method, latin(target), body)
    fields = sorted((name, value) for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT_")))
    answer = reply(method, target, fields, body, environ["REMOTE_ADDR"])
    if answer is None:
        start_response("200 OK", [("Content-Length", "2"), ("X-Mark", mark)])
        return [b"ok"]
    # What a connection is to do is not an application's to say.
    fields = [field for field in answer.fields if field[0] != "Connection"]
    start_response(f"{answer.status} {STATUS[answer.status]}", fields)
    return [] if method == "HEAD" else delayed(answer)


def delayed(answer):
    for piece in answer.pieces:
        yield piece
        time.sleep(answer.delay)


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
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    answer = reply(scope["method"], target.decode("latin-1"), fields, body, scope["client"][0])
    if answer is not None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.fields]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        for piece in answer.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(answer.delay)
        await send({"type": "http.response.body", "body": b""})
        return
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
            target = self.requestline.split()[1]
            mark = executed(self.command, target, body)
            found = reply(self.command, target, self.headers.items(), body, self.client_address[0])
            if found is not None:
                return self.particular(found)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("X-Mark", mark)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"ok")

        def particular(self, answer):
            if answer.kind == "early":
                self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
            self.send_response(answer.status)
            for name, value in answer.fields:
                self.send_header(name, value)
            chunked = not answer.sized and self.request_version == "HTTP/1.1"
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection |= answer.kind == "close" or not (answer.sized or chunked)
            if self.command == "HEAD":
                return
            for piece in answer.pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                time.sleep(answer.delay)
            if chunked:
                self.wfile.write(b"0\r\nX-Sum: 1\r\n\r\n" if answer.kind == "trailers" else b"0\r\n\r\n")

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
                        "threads": 16, "keepalive": 30, "loglevel": "critical"}
            for key, value in settings.items():
                self.cfg.set(key, value)

        def load(self):
            return wsgi

    sock.set_inheritable(True)
    Application().run()


def uvicorn(parser):
    def run(sock):
        from uvicorn import Config, Server
        config = Config(asgi, http=parser, ws="none", log_level="critical", lifespan="off",
                        timeout_keep_alive=30)
        Server(config).run(sockets=[sock])
    return run


def waitress(sock):
    from waitress import serve
    logging.disable()
    serve(wsgi, sockets=[sock], threads=16)


def tornado(sock):
    from tornado.httpserver import HTTPServer
    from tornado.httputil import HTTPHeaders, ResponseStartLine
    logging.disable()

    async def particular(request, answer):
        headers = HTTPHeaders()
        for name, value in answer.fields:
            headers.add(name, value)
        start = ResponseStartLine("HTTP/1.1", answer.status, STATUS[answer.status])
        request.connection.write_headers(start, headers)
        for piece in [] if request.method == "HEAD" else answer.pieces:
            await request.connection.write(piece)
            await asyncio.sleep(answer.delay)
        request.connection.finish()

    def answer(request):
        mark = executed(request.method, latin(request.uri), request.body)
        found = reply(request.method, request.uri, request.headers.get_all(), request.body, request.remote_ip)
        if found is not None:
            return asyncio.ensure_future(particular(request, found))
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
    from aiohttp import web
    logging.disable()

    async def particular(request, answer):
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.fields:
            response.headers.add(name, value)
        if answer.kind == "close":
            response.force_close()
        await response.prepare(request)
        for piece in [] if request.method == "HEAD" else answer.pieces:
            await response.write(piece)
            await asyncio.sleep(answer.delay)
        await response.write_eof()
        return response

    async def answer(request):
        body = await request.read()
        mark = executed(request.method, latin(request.raw_path), body)
        found = reply(request.method, request.raw_path, request.headers.items(), body, request.remote)
        if found is not None:
            return await particular(request, found)
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
