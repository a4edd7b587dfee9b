"""alibabacloud-sts20150401 and alibabacloud-credentials: sessions by AccessKey pair or OIDC token, and their access."""

import os

import alibabacloud_oss_v2 as oss
from alibabacloud_credentials.provider import (OIDCRoleArnCredentialsProvider, RamRoleArnCredentialsProvider,
                                                URLCredentialsProvider)
from alibabacloud_credentials.provider.static_ak import StaticAKCredentialsProvider
from alibabacloud_sts20150401.client import Client
from alibabacloud_sts20150401 import models
from alibabacloud_tea_openapi.models import Config
from checks import BUCKET, CALLER, HOST, OWNER, OWNER_UID, PROVIDER, REGION, ROLE, URL, check, error_of, same

TOKEN_FILE, STRANGER_FILE = os.environ["OIDC_TOKEN_FILE"], os.environ["OIDC_STRANGER_FILE"]
SESSION_ARN = f"acs:ram::{OWNER_UID}:assumed-role/sdk-session/sdk"


def client(key, secret, token=None):
    return Client(Config(access_key_id=key, access_key_secret=secret, security_token=token, endpoint=HOST,
                         protocol="HTTP"))


def opens_the_bucket(key, secret, token, version="v4"):
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(key, secret, token)
    config.region, config.endpoint, config.signature_version = REGION, URL, version
    info = oss.Client(config).get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    same(info.owner.id, OWNER_UID)


def triple(credentials):
    return credentials.access_key_id, credentials.access_key_secret, credentials.security_token


def assume(who, **more):
    request = models.AssumeRoleRequest(role_arn=ROLE, role_session_name="sdk", **more)
    return who.assume_role(request).body


def assume_role():
    session = triple(assume(client(*OWNER), duration_seconds=1800).credentials)
    same(client(*session).get_caller_identity().body.arn, SESSION_ARN)
    opens_the_bucket(*session)
    opens_the_bucket(*session, version="v1")


def narrowed():
    policy = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:ListObjects","Resource":"*"}]}'
    session = triple(assume(client(*OWNER), policy=policy).credentials)
    same(error_of(lambda: opens_the_bucket(*session)).unwrap().code, "AccessDenied")


def not_trusted():
    error = error_of(lambda: assume(client(*CALLER)))
    same((error.status_code, error.code), (403, "NoPermission"))


def with_oidc(file, who=None):
    with open(file, encoding="utf-8") as token:
        request = models.AssumeRoleWithOIDCRequest(
            role_arn=ROLE, oidcprovider_arn=PROVIDER, oidctoken=token.read(), role_session_name="sdk")
    return (who or client(*CALLER)).assume_role_with_oidc(request).body


def oidc():
    answer = with_oidc(TOKEN_FILE)
    same(answer.oidctoken_info.subject, "system:serviceaccount:sdk:scorer")
    opens_the_bucket(*triple(answer.credentials))


def oidc_stranger():
    error = error_of(lambda: with_oidc(STRANGER_FILE))
    same((error.status_code, error.code), (403, "AuthenticationFail.NoPermission"))


def provider(file):
    # This package calls STS only over HTTPS; run.sh makes Python trust the emulator's certificate.
    return OIDCRoleArnCredentialsProvider(role_arn=ROLE, oidc_provider_arn=PROVIDER, oidc_token_file_path=file,
                                          role_session_name="sdk", sts_endpoint=HOST)


def credentials_oidc():
    found = provider(TOKEN_FILE).get_credentials()
    opens_the_bucket(found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token())


def credentials_oidc_stranger():
    reason = str(error_of(lambda: provider(STRANGER_FILE).get_credentials()))
    same("AuthenticationFail.NoPermission" in reason, True)


def credentials_role():
    inner = StaticAKCredentialsProvider(access_key_id=OWNER[0], access_key_secret=OWNER[1])
    found = RamRoleArnCredentialsProvider(credentials_provider=inner, role_arn=ROLE, role_session_name="sdk",
                                          sts_endpoint=HOST).get_credentials()
    opens_the_bucket(found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token())


def credentials_uri():
    found = URLCredentialsProvider(uri=os.environ["EMULATOR_URL"] + "/-/credentials").get_credentials()
    opens_the_bucket(found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token())


def wrong_key():
    error = error_of(lambda: client("LTAI5tNobody", "x").get_caller_identity())
    same((error.status_code, error.code), (404, "InvalidAccessKeyId.NotFound"))


for name, act in [
    ("python sts: AssumeRole opens the bucket, V4 and V1", assume_role),
    ("python sts: a session's policy narrows it", narrowed),
    ("python sts: a role that does not trust the caller", not_trusted),
    ("python sts: AssumeRoleWithOIDC", oidc),
    ("python sts: AssumeRoleWithOIDC with an untrusted subject", oidc_stranger),
    ("python sts: wrong key", wrong_key),
    ("python credentials: OIDC over HTTPS", credentials_oidc),
    ("python credentials: a credentials URI", credentials_uri),
    ("python credentials: OIDC with an untrusted subject", credentials_oidc_stranger),
    ("python credentials: AssumeRole with the HMAC-SHA1 signature over HTTPS", credentials_role),
]:
    check(name, act)
