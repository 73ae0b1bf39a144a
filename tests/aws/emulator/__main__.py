"""The server's process: `python -m tests.aws.emulator`. Says its port, ends when its input ends."""

import logging
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.aws.emulator import corrections
from tests.aws.emulator.control import Control


def main() -> None:
    if sys.argv[1:] != ["--as-is"]:
        corrections.install()
    # One line per request is noise; what goes wrong is logged above this.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = Control(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    # moto calls itself at times.
    os.environ["MOTO_PORT"] = str(server.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
