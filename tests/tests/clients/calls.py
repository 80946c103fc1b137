"""`calls.py requests|httpx|httpx-h2|aiohttp CA URL…`: the same calls with each of these clients."""

import asyncio
import json
import ssl
import sys

ORDER = b'{"item":"tea","n":1}'
JSON = {"Content-Type": "application/json"}
FORM = {"a": "1", "b": "2"}
OCTETS = {"Content-Type": "application/octet-stream"}


def parts():
    for _ in range(3):
        yield b"s" * 100_000


async def aparts():
    for part in parts():
        yield part


def with_requests(ca, url):
    import requests

    with requests.Session() as session:
        session.verify = ca
        answers = [
            session.get(f"{url}/orders/1"),
            session.post(f"{url}/orders", data=ORDER, headers=JSON),
            session.put(f"{url}/orders/1/file", data=parts(), headers=OCTETS),
            session.post(f"{url}/denied", data=FORM),
            session.delete(f"{url}/orders/1"),
        ]
        return [[a.status_code, a.json() if a.content else None] for a in answers]


def with_httpx(ca, url, http2=False):
    import httpx

    with httpx.Client(verify=ssl.create_default_context(cafile=ca), http1=not http2, http2=http2) as client:
        answers = [
            client.get(f"{url}/orders/1"),
            client.post(f"{url}/orders", content=ORDER, headers=JSON),
            client.put(f"{url}/orders/1/file", content=parts(), headers=OCTETS),
            client.post(f"{url}/denied", data=FORM),
            client.delete(f"{url}/orders/1"),
        ]
        return [[a.status_code, a.json() if a.content else None] for a in answers]


async def aiohttp_calls(ca, url):
    import aiohttp

    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
    async with aiohttp.ClientSession(connector=connector) as session:
        seen = []
        for call in [
            session.get(f"{url}/orders/1"),
            session.post(f"{url}/orders", data=ORDER, headers=JSON),
            session.put(f"{url}/orders/1/file", data=aparts(), headers=OCTETS),
            session.post(f"{url}/denied", data=FORM),
            session.delete(f"{url}/orders/1"),
        ]:
            async with call as answer:
                body = await answer.read()
                seen.append([answer.status, json.loads(body) if body else None])
        return seen


CLIENTS = {
    "requests": with_requests,
    "httpx": with_httpx,
    "httpx-h2": lambda ca, url: with_httpx(ca, url, http2=True),
    "aiohttp": lambda ca, url: asyncio.run(aiohttp_calls(ca, url)),
}
client, ca, *urls = sys.argv[1:]
for url in urls:
    print(json.dumps(CLIENTS[client](ca, url)))
