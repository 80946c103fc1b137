"""gRPC with the reference implementation. `grpc_peer.py server`, or `grpc_peer.py client ADDRESS [CA]`.

Messages are plain bytes: no generated code is needed to have real frames and real trailers.
"""

import json
import sys
import time
from concurrent import futures

import grpc


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "end"),))
    if request == b"missing":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    if request == b"forbidden":
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
    if request == b"slow":
        time.sleep(1)
    return b"echo " + request


def strict(request, context):
    print("called strict", flush=True)
    return unary(request, context)


def collect(requests, context):
    return b"+".join(requests)


def spread(request, context):
    for n in range(5):
        yield request + str(n).encode()


def talk(requests, context):
    for request in requests:
        yield request.upper()


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Spread": grpc.unary_stream_rpc_method_handler(spread),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    only = {"Unary": grpc.unary_unary_rpc_method_handler(strict)}
    services = {"pkg.Echo": handlers, "pkg.Strict": only}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(*s) for s in services.items()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"grpc ready port={port}", flush=True)
    server.wait_for_termination()


def connect(address, ca=None):
    if ca is None:
        return grpc.insecure_channel(address)
    with open(ca, "rb") as file:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))


def ask(address, ca=None):
    seen = []
    with connect(address, ca) as channel:
        one = channel.unary_unary("/pkg.Echo/Unary")

        def attempt(request, **how):
            try:
                answer, call = one.with_call(request, **how)
                trailers = [list(t) for t in call.trailing_metadata()]
                seen.append([answer.decode(), call.code().name, trailers])
            except grpc.RpcError as error:
                seen.append([error.code().name, error.details() if error.code().value[0] != 4 else ""])

        attempt(b"hello")
        attempt(b"large" * 100_000)
        attempt(b"packed" * 1000, compression=grpc.Compression.Gzip)
        attempt(b"missing")
        attempt(b"forbidden")
        attempt(b"slow", timeout=0.2)
        seen.append(channel.stream_unary("/pkg.Echo/Collect")(iter([b"a", b"b", b"c"])).decode())
        seen.append([m.decode() for m in channel.unary_stream("/pkg.Echo/Spread")(b"m")])
        seen.append([m.decode() for m in channel.stream_stream("/pkg.Echo/Talk")(iter([b"x", b"y"]))])
        try:
            channel.unary_unary("/pkg.Echo/Nothing")(b"")
        except grpc.RpcError as error:
            seen.append(error.code().name)
    print(json.dumps(seen))


def ask_strictly(address):
    seen = []
    with grpc.insecure_channel(address) as channel:
        for method in ("/pkg.Strict/Unary", "/pkg.Echo/Unary"):
            try:
                seen.append(channel.unary_unary(method)(b"hello").decode())
            except grpc.RpcError as error:
                seen.append(error.code().name)
    print(json.dumps(seen))


if sys.argv[1] == "server":
    serve()
elif sys.argv[1] == "strict":
    ask_strictly(sys.argv[2])
else:
    ask(*sys.argv[2:])
