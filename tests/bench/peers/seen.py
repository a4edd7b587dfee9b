"""kopf with one handler that stores nothing. Prints a line once it has seen the expected number of grants."""

import os
import time

import kopf

WANTED = int(os.environ["BENCH_WANTED"])
seen = set()


@kopf.on.login()
def login(**kwargs):
    return kopf.login_with_kubeconfig(**kwargs)


@kopf.on.startup()
def settings(settings, **_):
    settings.posting.enabled = False


@kopf.on.event("immops.dev", "v1alpha1", "immbucketgrants")
def event(uid, **_):
    if uid not in seen:
        seen.add(uid)
        if len(seen) == WANTED:
            print(f"seen {WANTED} at {time.time():.6f}", flush=True)
