"""An application that answers hello over HTTP."""

from __future__ import annotations

import os
import sys

from klein import Klein
from twisted.internet import reactor
from twisted.python import log
from twisted.web.iweb import IRequest
from twisted.web.server import Site

app = Klein()


@app.route("/")
def home(request: IRequest) -> str:
    """Answer the one page that there is."""
    request.setHeader("content-type", "text/plain")
    return "Hello, world!"


def main() -> None:
    """Serve until a signal says stop; the log goes to standard output, line by line."""
    port = int(os.environ.get("PORT", "8081"))
    log.startLogging(sys.stdout)
    # Not app.run(): that one goes on without a socket when the port is taken.
    reactor.listenTCP(port, Site(app.resource()), interface="0.0.0.0")
    reactor.run()
