"""alibabacloud-imm20200930: scores through the bucket policy and a role chain, and projects."""

import alibabacloud_oss_v2 as oss
from alibabacloud_imm20200930.client import Client
from alibabacloud_imm20200930 import models
from alibabacloud_tea_openapi.models import Config
from checks import BUCKET, CALLER, HOST, NOWHERE, OWNER, OWNER_UID, POLICY, REGION, URL, check, error_of, same


def client(key, secret):
    return Client(Config(access_key_id=key, access_key_secret=secret, endpoint=HOST, protocol="HTTP"))


caller = client(*CALLER)
config = oss.config.load_default()
config.credentials_provider = oss.credentials.StaticCredentialsProvider(*OWNER)
config.region, config.endpoint = REGION, URL
owner = oss.Client(config)


def score(who=caller, project="immtest", uri=f"oss://{BUCKET}/picture.jpg"):
    return who.detect_image_score(models.DetectImageScoreRequest(project_name=project, source_uri=uri)).body


def refused(act, status, code):
    error = error_of(act)
    same((error.status_code, error.code), (status, code))


def scored_through_the_grant():
    refused(score, 403, "AccessDenied")
    owner.put_bucket_policy(oss.PutBucketPolicyRequest(bucket=BUCKET, body=POLICY))
    same(score().image_score.overall_quality_score, 0.727)
    refused(lambda: score(uri=f"oss://{BUCKET}/none.jpg"), 400, "ResourceNotFound")
    owner.delete_bucket_policy(oss.DeleteBucketPolicyRequest(bucket=BUCKET))
    refused(score, 403, "AccessDenied")


def project():
    found = caller.get_project(models.GetProjectRequest(project_name="immtest", with_statistics=True)).body.project
    same((found.project_name, found.service_role), ("immtest", "AliyunIMMDefaultRole"))
    same((found.project_queries_per_second, found.engine_concurrency), (100, 100))


def projects():
    listed = caller.list_projects(models.ListProjectsRequest(prefix="imm", next_token="")).body
    same([one.project_name for one in listed.projects], ["immtest"])


def missing_project():
    refused(lambda: score(project="nowhere"), 400, "ResourceNotFound")
    refused(lambda: caller.get_project(models.GetProjectRequest(project_name="nowhere")), 400, "ResourceNotFound")
    refused(lambda: score(client(*OWNER)), 400, "ResourceNotFound")


def chained(role, service_role="AliyunSTSAssumeForIMMServiceRole", role_type="user"):
    link = models.CredentialConfigChain(assume_role_for=OWNER_UID, role=role, role_type=role_type)
    config = models.CredentialConfig(service_role=service_role, chain=[link])
    request = models.DetectImageScoreRequest(
        project_name="immtest", source_uri=f"oss://{BUCKET}/picture.jpg", credential_config=config)
    return caller.detect_image_score(request).body


def scored_through_a_chain():
    same(chained("sdk-reader").image_score.overall_quality_score, 0.727)
    refused(lambda: chained("sdk-session"), 403, "AccessDenied")
    refused(lambda: chained("nobody"), 403, "AccessDenied")
    refused(lambda: chained("sdk-reader", service_role="nobody"), 403, "AccessDenied")
    refused(lambda: chained("sdk-reader", service_role=""), 400, "InvalidArgument")
    refused(lambda: chained("sdk-reader", role_type="owner"), 400, "InvalidArgument")


for name, act in [
    ("a role chain", scored_through_a_chain),
    ("denied, scored, denied", scored_through_the_grant),
    ("a key that needs encoding", lambda: refused(lambda: score(uri=f"oss://{BUCKET}/a b+ü~*'().jpg"), 403, "AccessDenied")),
    ("get project", project),
    ("list projects", projects),
    ("missing project", missing_project),
    ("no bucket", lambda: refused(lambda: score(uri=f"oss://{NOWHERE}/a.jpg"), 400, "ResourceNotFound")),
    ("wrong key", lambda: refused(lambda: score(client("LTAI5tNobody", "x")), 404, "InvalidAccessKeyId.NotFound")),
    ("wrong secret", lambda: refused(lambda: score(client(CALLER[0], "x")), 400, "SignatureDoesNotMatch")),
]:
    check(f"python imm: {name}", act)
