"""A real OpenID Connect server, in a process of its own, whose people say yes at once."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

DEADLINE = 60


@dataclass(frozen=True, slots=True)
class IdentityServer:
    url: str

    def tell(self, sub: str, **claims: object) -> None:
        """Say what the server knows of a person from now on."""
        requests.put(f"{self.url}/users/{sub}", json=claims, timeout=10).raise_for_status()

    def agree(self, address: str, sub: str) -> str:
        """Log `sub` in at the address that a site led to; return where the server leads back to."""
        return self._answer(address, {"sub": sub})

    def deny(self, address: str) -> str:
        return self._answer(address, {"action": "deny"})

    def _answer(self, address: str, form: dict[str, str]) -> str:
        reply = requests.post(address, data=form, allow_redirects=False, timeout=10)
        assert reply.status_code == 302, reply.text
        return reply.headers["Location"]


@contextmanager
def identity_server() -> Iterator[IdentityServer]:
    """Start one that wants a nonce; end it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "-p", str(port), "-n", "true"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # The program trusts no other name of this machine.
        url = f"http://localhost:{port}"
        _wait_for(f"{url}/.well-known/openid-configuration", process)
        yield IdentityServer(url)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + DEADLINE
    while True:
        assert process.poll() is None, f"the identity server ended with {process.returncode}"
        try:
            requests.get(url, timeout=5).raise_for_status()
        except requests.ConnectionError:
            assert time.monotonic() < ends, "the identity server does not answer"
            time.sleep(0.1)
        else:
            return
