"""jupyter_server's client of another server's kernels: starts one, runs code in it over its WebSocket, ends it.

`SSL_CERT_FILE=CA kernel.py URL…`
"""

import asyncio
import json
import sys

from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager
from traitlets.config import Config


async def run(url):
    GatewayClient.clear_instance()
    settings = Config()
    settings.GatewayClient.update(url=url, request_timeout=30.0)
    GatewayClient.instance(config=settings)
    manager = GatewayKernelManager()
    await manager.start_kernel(kernel_name="python3")
    client = manager.client(kernel_id=manager.kernel_id)
    await client.start_channels()
    client.execute("print('said', flush=True); 1 + 1")
    seen = []
    while True:
        message = await client.get_iopub_msg(timeout=30)
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            seen.append(content["text"])
        if kind == "execute_result":
            seen.append(content["data"]["text/plain"])
        if kind == "status" and content["execution_state"] == "idle" and len(seen) == 2:
            break
    client.stop_channels()
    await manager.shutdown_kernel()
    return seen


for url in sys.argv[1:]:
    print(json.dumps(asyncio.run(run(url))))
