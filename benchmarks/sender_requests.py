"""The yardstick: four threads that post bodies made beforehand with `requests`, and remember nothing.

    python benchmarks/sender_requests.py URL BODIES     prints {"seconds", "cpu"}

BODIES is a file with one body a line; reading it is not timed. Each thread has a Session, and the
environment is left out of it (`trust_env`), which makes `requests` some 15 % faster.
"""

import json
import queue
import sys
import threading
import time
from pathlib import Path

import requests

THREADS = 4


def main(url: str, bodies: list[bytes]) -> None:
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for body in bodies + [None] * THREADS:
        waiting.put(body)

    def post() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while (body := waiting.get()) is not None:
                session.post(url, data=body, headers={"Content-Type": "application/json"}).raise_for_status()

    threads = [threading.Thread(target=post) for _ in range(THREADS)]
    began, began_cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main(sys.argv[1] + "/lists/1/add", Path(sys.argv[2]).read_bytes().splitlines())
