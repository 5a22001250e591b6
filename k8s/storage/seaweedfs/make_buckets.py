"""Make S3 buckets that are missing; server and account are those of the environment (AWS_…).

python make_buckets.py NAME …
"""  # noqa: INP001 - it runs as a file, out of a ConfigMap

import sys
import time

import boto3
from botocore.exceptions import ClientError, EndpointConnectionError

WAIT_SECONDS = 300.0
POLL_SECONDS = 2.0
_PRESENT = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def make_buckets(names: list[str], *, wait_seconds: float = WAIT_SECONDS) -> list[str]:
    """The names of those that were made; waits for a server that has not started yet.

    Raises:
        EndpointConnectionError: Nobody has answered for `wait_seconds`.
        ClientError: The server refuses; a bucket that exists already is no refusal.
    """
    client = boto3.client("s3")
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            break
        except EndpointConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    made = []
    for name in names:
        if name in present:
            continue
        try:
            client.create_bucket(Bucket=name)
        except ClientError as problem:
            if problem.response["Error"]["Code"] not in _PRESENT:
                raise
        else:
            made.append(name)
    return made


if __name__ == "__main__":
    sys.stdout.write(f"made: {' '.join(make_buckets(sys.argv[1:])) or 'nothing, all are there'}\n")
