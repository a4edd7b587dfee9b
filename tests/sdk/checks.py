"""Shared by all checks: one output line per check, and the constants of the seed."""

import json
import os

URL = os.environ["EMULATOR_URL"]
HOST = URL.split("//", 1)[1]
REGION = "cn-hangzhou"
CALLER_UID, OWNER_UID = "1111222233334444", "5555666677778888"
CALLER = ("LTAI5tSdkCaller00001", "canary-sdk-caller")
OWNER = ("LTAI5tSdkOwner000001", "canary-sdk-owner")
BUCKET, FOREIGN, NOWHERE = "sdk-bucket", "foreign-bucket", "no-such-bucket"
ROLE = f"acs:ram::{OWNER_UID}:role/sdk-session"
PROVIDER = f"acs:ram::{OWNER_UID}:oidc-provider/ack-rrsa-sdk"
# White space and order are unusual on purpose: the response must have the same bytes.
POLICY = (
    ' {"Statement":[ {"Effect":"Allow","Action":["oss:GetObject"],\n\t"Principal":'
    f'["arn:sts::{CALLER_UID}:assumed-role/AliyunIMMDefaultRole/*"],'
    f'"Resource":["acs:oss:*:{OWNER_UID}:{BUCKET}/*"]}}], "Version":"1"}}\n'
)
PUBLIC_POLICY = json.dumps(
    {"Version": "1", "Statement": [{"Effect": "Allow", "Action": ["oss:GetObject"], "Principal": ["*"],
                                    "Resource": [f"acs:oss:*:{OWNER_UID}:{BUCKET}/*"]}]}
)
# No dot segments: this client's HTTP library removes them from the path after signing.
ODD_KEYS = ["odd/a b+ü~.txt", "odd//x//y", "odd/*'()!@$&=;:,?#[]%.txt", "odd/测试/对象.txt", "odd/<tag>&\"q\".txt"]


def same(found, wanted):
    """Fails unless both are equal."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def check(name, act):
    """Runs one check and prints its line. The reason is shortened to one line of 300 characters."""
    try:
        act()
    except Exception as error:  # every exception of a client is a result to report
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        print(f"FAIL {name} {reason}", flush=True)
    else:
        print(f"ok {name}", flush=True)


def error_of(act):
    """Returns the error that the call must raise; fails if the call succeeds."""
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("the call succeeded")
