"""A metadata service for one connection, between standard input and output: EC2's, version 2.

QEMU's user network runs it for each connection to 169.254.169.254. Argument: a file with user data.
"""

import sys
from pathlib import Path

TOKEN = "a-token"


def answer(request: str, headers: dict[str, str], user_data: bytes) -> tuple[str, bytes]:
    if request.startswith("PUT /latest/api/token ") and "x-aws-ec2-metadata-token-ttl-seconds" in headers:
        return "200 OK", TOKEN.encode()
    if headers.get("x-aws-ec2-metadata-token") != TOKEN:
        return "401 Unauthorized", b"hostname=no-token\n"
    if request.startswith("GET /latest/user-data "):
        return "200 OK", user_data
    return "404 Not Found", b"hostname=not-found\n"


if __name__ == "__main__":
    lines = iter(sys.stdin.buffer.readline().decode().rstrip("\r\n") for _ in range(100))
    request = next(lines)
    pairs = (line.split(": ", 1) for line in iter(lambda: next(lines), ""))
    status, body = answer(
        request, {name.lower(): value for name, value in pairs}, Path(sys.argv[1]).read_bytes()
    )
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    sys.stdout.buffer.write(head.encode() + body)
    sys.stdout.buffer.flush()
