"""Scores as a script with the official client gets them: a pool of threads that calls as fast as it can.

One JSON order a line on standard input: the project, the images, how many threads, and how often a refused image is tried.
One JSON line back: what came of it.
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
    """Gives whether it was scored, and how many calls that took; between tries it waits as tutorials say."""
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
