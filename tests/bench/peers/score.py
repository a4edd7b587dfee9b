"""Scores images like a script with the official client: a pool of threads calls without a rate limit.

Reads one JSON order per line from standard input: the project, the images, the number of threads, and the number of
tries for a throttled image. Prints one JSON line with the results.
"""

import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from alibabacloud_imm20200930 import models
from alibabacloud_imm20200930.client import Client
from alibabacloud_tea_openapi.models import Config

client = Client(Config(access_key_id=os.environ["BENCH_KEY"], access_key_secret=os.environ["BENCH_SECRET"],
                       endpoint=os.environ["BENCH_HOST"], protocol="HTTP"))


def score(project, image, tries):
    """Returns whether the image was scored, and the number of calls. Backs off with jitter between tries."""
    request = models.DetectImageScoreRequest(project_name=project, source_uri=image)
    for number in range(tries):
        try:
            client.detect_image_score(request)
            return True, number + 1
        except Exception as error:
            if not str(getattr(error, "code", "")).startswith("Throttling") or number + 1 == tries:
                return False, number + 1
        time.sleep(random.uniform(0.5, 1) * min(0.2 * 2 ** number, 5))


for line in sys.stdin:
    order = json.loads(line)
    started, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(order["threads"]) as pool:
        results = list(pool.map(lambda image: score(order["project"], image, order["tries"]), order["images"]))
    print(json.dumps({"scored": sum(done for done, _ in results), "calls": sum(calls for _, calls in results),
                      "seconds": time.perf_counter() - started, "cpu": time.process_time() - used}), flush=True)
