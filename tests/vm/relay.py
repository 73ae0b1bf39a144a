"""Carries one connection between standard input and output and the Unix socket of the argument.

QEMU's user network runs it for each connection to the address of a service that the test itself is.
"""

import os
import select
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as service:
        service.connect(sys.argv[1])
        ends = {0: service.fileno(), service.fileno(): 1}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                said = os.read(end, 1 << 16)
                if not said:
                    sys.exit()
                while said:
                    said = said[os.write(ends[end], said) :]
