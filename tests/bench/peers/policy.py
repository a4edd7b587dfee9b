"""Changes policies like a script with the official client: get, edit, put, without checking for concurrent writes.

Reads one JSON list of orders per line from standard input, runs the orders in a pool of threads, and prints one JSON
list of seconds per line. An order names a bucket and a statement to write under its Sid. Without a statement the policy
is only read.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import alibabacloud_oss_v2 as oss

config = oss.config.load_default()
config.credentials_provider = oss.credentials.StaticCredentialsProvider(os.environ["BENCH_KEY"], os.environ["BENCH_SECRET"])
config.region, config.endpoint = os.environ["BENCH_REGION"], os.environ["BENCH_URL"]
client = oss.Client(config)


def read(bucket):
    try:
        body = client.get_bucket_policy(oss.GetBucketPolicyRequest(bucket=bucket)).body
    except oss.exceptions.OperationError as error:
        if "NoSuchBucketPolicy" not in str(error):
            raise
        return {"Version": "1", "Statement": []}
    return json.loads(body)


def run(order):
    started = time.perf_counter()
    policy, wanted = read(order["bucket"]), order.get("statement")
    if wanted:
        others = [one for one in policy["Statement"] if one.get("Sid") != wanted["Sid"]]
        policy["Statement"] = [*others, wanted]
        client.put_bucket_policy(oss.PutBucketPolicyRequest(bucket=order["bucket"], body=json.dumps(policy)))
    return time.perf_counter() - started


with ThreadPoolExecutor(int(os.environ["BENCH_THREADS"])) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(run, json.loads(line)))), flush=True)
