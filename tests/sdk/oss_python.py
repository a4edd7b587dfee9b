"""alibabacloud-oss-v2: every OSS call of the operator and some more, signed V4 and V1."""

import sys

import alibabacloud_oss_v2 as oss
from checks import BUCKET, CALLER, FOREIGN, NOWHERE, ODD_KEYS, OWNER, OWNER_UID, POLICY, PUBLIC_POLICY, REGION, URL
from checks import check, error_of, same

VERSION = sys.argv[1]


def client(key, secret, token=None):
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(key, secret, token)
    config.region, config.endpoint, config.signature_version = REGION, URL, VERSION
    return oss.Client(config)


owner, caller = client(*OWNER), client(*CALLER)


def get_policy(who=owner, bucket=BUCKET):
    return who.get_bucket_policy(oss.GetBucketPolicyRequest(bucket=bucket))


def put_policy(who=owner, bucket=BUCKET, body=POLICY):
    return who.put_bucket_policy(oss.PutBucketPolicyRequest(bucket=bucket, body=body))


def delete_policy(who=owner, bucket=BUCKET):
    return who.delete_bucket_policy(oss.DeleteBucketPolicyRequest(bucket=bucket))


def is_public():
    return owner.get_bucket_policy_status(oss.GetBucketPolicyStatusRequest(bucket=BUCKET)).policy_status.is_public


def refused(act, status, code, ec=None):
    error = error_of(act).unwrap()
    same((error.status_code, error.code), (status, code))
    if ec:
        same(error.ec, ec)


def policy_life():
    same(put_policy().status_code, 200)
    body = get_policy().body
    same(body if isinstance(body, str) else body.decode(), POLICY)
    same(is_public(), False)
    same(delete_policy().status_code, 204)
    same(delete_policy().status_code, 204)
    refused(get_policy, 404, "NoSuchBucketPolicy", "0030-00000006")
    same(is_public(), False)


def public_access_block():
    def put(on):
        wanted = oss.PublicAccessBlockConfiguration(block_public_access=on)
        return owner.put_bucket_public_access_block(
            oss.PutBucketPublicAccessBlockRequest(bucket=BUCKET, public_access_block_configuration=wanted))

    def get():
        answer = owner.get_bucket_public_access_block(oss.GetBucketPublicAccessBlockRequest(bucket=BUCKET))
        return answer.public_access_block_configuration.block_public_access

    same(get(), True)
    refused(lambda: put_policy(body=PUBLIC_POLICY), 403, "AccessDenied")
    same(put(False).status_code, 200)
    same(get(), False)
    same(put_policy(body=PUBLIC_POLICY).status_code, 200)
    same(is_public(), True)
    delete_policy()
    same(put(True).status_code, 200)
    same(get(), True)


def bucket_facts():
    info = owner.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    same((info.name, info.owner.id, info.location), (BUCKET, OWNER_UID, f"oss-{REGION}"))
    same(owner.get_bucket_location(oss.GetBucketLocationRequest(bucket=BUCKET)).location, f"oss-{REGION}")
    acl = owner.get_bucket_acl(oss.GetBucketAclRequest(bucket=BUCKET))
    same((acl.acl, acl.owner.id), ("private", OWNER_UID))
    same([bucket.name for bucket in owner.list_buckets(oss.ListBucketsRequest()).buckets], [BUCKET])


def objects():
    for key in ODD_KEYS:
        body = key.encode()
        same(owner.put_object(oss.PutObjectRequest(bucket=BUCKET, key=key, body=body)).status_code, 200)
        same(owner.head_object(oss.HeadObjectRequest(bucket=BUCKET, key=key)).content_length, len(body))
        same(owner.get_object(oss.GetObjectRequest(bucket=BUCKET, key=key)).body.content, body)
    part = owner.get_object(oss.GetObjectRequest(bucket=BUCKET, key=ODD_KEYS[0], range_header="bytes=0-2"))
    same((part.status_code, part.body.content), (206, b"odd"))


def listing():
    found = []
    for page in owner.list_objects_v2_paginator(limit=2).iter_page(
            oss.ListObjectsV2Request(bucket=BUCKET, prefix="odd/")):
        found.extend(entry.key for entry in page.contents or [])
    same(found, sorted(ODD_KEYS, key=str.encode))
    page = owner.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, delimiter="/"))
    same([entry.prefix for entry in page.common_prefixes], ["odd/"])
    same([entry.key for entry in page.contents], ["picture.jpg"])


def no_bucket():
    for act in (get_policy, put_policy, delete_policy):
        refused(lambda: act(bucket=NOWHERE), 404, "NoSuchBucket", "0015-00000101")


def foreign_bucket():
    for act in (get_policy, put_policy, delete_policy):
        refused(lambda: act(bucket=FOREIGN), 403, "AccessDenied")


def missing_object():
    refused(lambda: owner.head_object(oss.HeadObjectRequest(bucket=BUCKET, key="none")), 404, "NoSuchKey")
    refused(lambda: owner.get_object(oss.GetObjectRequest(bucket=BUCKET, key="none")), 404, "NoSuchKey")


def denied_object():
    refused(lambda: caller.get_object(oss.GetObjectRequest(bucket=BUCKET, key="picture.jpg")), 403, "AccessDenied")
    refused(lambda: caller.head_object(oss.HeadObjectRequest(bucket=BUCKET, key="picture.jpg")), 403, "AccessDenied")


for name, act in [
    ("policy put, get, status, delete, and none", policy_life),
    ("public access block", public_access_block),
    ("bucket info, location, acl, list of buckets", bucket_facts),
    ("put, head and get objects with odd keys", objects),
    ("list with encoding-type=url, in pages, with a delimiter", listing),
    ("wrong key", lambda: refused(lambda: get_policy(client("LTAI5tNobody", "x")), 403, "InvalidAccessKeyId")),
    ("wrong secret", lambda: refused(lambda: get_policy(client(OWNER[0], "x")), 403, "SignatureDoesNotMatch")),
    ("wrong token", lambda: refused(lambda: get_policy(client(*OWNER, "x")), 403, "InvalidSecurityToken")),
    ("no bucket", no_bucket),
    ("foreign bucket", foreign_bucket),
    ("missing object", missing_object),
    ("denied object", denied_object),
]:
    check(f"python oss {VERSION}: {name}", act)
