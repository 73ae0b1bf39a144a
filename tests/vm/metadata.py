"""A metadata service for one connection, between standard input and output: EC2's, version 2.

QEMU's user network runs it for each connection to 169.254.169.254. Argument: a file with user data, which
need not be there; beside it, with the suffix .json, one may have what is below /latest/meta-data/, and with
the suffix .late one how many connections are closed without an answer.
"""

import json
import sys
from pathlib import Path

TOKEN = "a-token"


def answer(request: str, headers: dict[str, str], user_data: Path) -> tuple[str, bytes]:
    if request.startswith("PUT /latest/api/token ") and "x-aws-ec2-metadata-token-ttl-seconds" in headers:
        return "200 OK", TOKEN.encode()
    if headers.get("x-aws-ec2-metadata-token") != TOKEN:
        return "401 Unauthorized", b"hostname=no-token\n"
    _, path, _ = request.split(" ")
    if path == "/latest/user-data" and user_data.exists():
        return "200 OK", user_data.read_bytes()
    beside = user_data.with_suffix(".json")
    known = json.loads(beside.read_text()) if beside.exists() else {}
    if (name := path.removeprefix("/latest/meta-data/")) in known:
        return "200 OK", known[name].encode()
    return "404 Not Found", b"hostname=not-found\n"


if __name__ == "__main__":
    late = Path(sys.argv[1]).with_suffix(".late")
    if late.exists() and (count := int(late.read_text())):
        late.write_text(str(count - 1))
        sys.exit()
    lines = iter(sys.stdin.buffer.readline().decode().rstrip("\r\n") for _ in range(100))
    request = next(lines)
    pairs = (line.split(": ", 1) for line in iter(lambda: next(lines), ""))
    status, body = answer(request, {name.lower(): value for name, value in pairs}, Path(sys.argv[1]))
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    sys.stdout.buffer.write(head.encode() + body)
    sys.stdout.buffer.flush()
