"""A Jupyter server on the port given. It asks nobody who they are: its own client sends no token with a
WebSocket."""

import sys

from jupyter_server.serverapp import ServerApp
from traitlets.config import Config

settings = Config()
settings.ServerApp.update(
    ip="127.0.0.1",
    port=int(sys.argv[1]),
    port_retries=0,
    open_browser=False,
    allow_root=True,
    disable_check_xsrf=True,
    terminals_enabled=False,
)
settings.IdentityProvider.token = ""
ServerApp.launch_instance([], config=settings)
