"""kopf with one handler that keeps nothing: says when it has seen as many grants as it was told to wait for."""

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
