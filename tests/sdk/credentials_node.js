// @alicloud/credentials: sessions by AccessKey pair or OIDC token, over HTTPS, and what they open.
'use strict';

const path = require('path');
const { run } = require('./checks.js');
const modules = process.env.SDK_NODE_MODULES;
const OSS = require(path.join(modules, 'ali-oss'));
const { default: Credential, Config } = require(path.join(modules, '@alicloud/credentials'));

const uid = '5555666677778888';
const bucket = 'sdk-bucket';
const role = {
  roleArn: `acs:ram::${uid}:role/sdk-session`,
  roleSessionName: 'sdk',
  stsEndpoint: new URL(process.env.EMULATOR_URL).host,
};
const oidc = {
  ...role,
  type: 'oidc_role_arn',
  oidcProviderArn: `acs:ram::${uid}:oidc-provider/ack-rrsa-sdk`,
};

async function opensTheBucket(config) {
  const session = await new Credential(new Config(config)).getCredential();
  const client = new OSS({
    accessKeyId: session.accessKeyId,
    accessKeySecret: session.accessKeySecret,
    stsToken: session.securityToken,
    bucket,
    region: 'oss-cn-hangzhou',
    endpoint: process.env.EMULATOR_URL,
  });
  const owner = (await client.getBucketInfo(bucket)).bucket.Owner.ID;
  if (owner !== uid) throw new Error(`found ${owner}, wanted ${uid}`);
}

const checks = {
  'AssumeRole over HTTPS': () =>
    opensTheBucket({
      ...role,
      type: 'ram_role_arn',
      accessKeyId: 'LTAI5tSdkOwner000001',
      accessKeySecret: 'canary-sdk-owner',
    }),
  'a credentials URI': () =>
    opensTheBucket({ type: 'credentials_uri', credentialsURI: `${process.env.EMULATOR_URL}/-/credentials` }),
  'OIDC over HTTPS': () => opensTheBucket({ ...oidc, oidcTokenFilePath: process.env.OIDC_TOKEN_FILE }),
  'OIDC with an untrusted subject': async () => {
    let reason = 'the call succeeded';
    try {
      await opensTheBucket({ ...oidc, oidcTokenFilePath: process.env.OIDC_STRANGER_FILE });
    } catch (error) {
      reason = String(error.message);
    }
    if (!reason.includes('AuthenticationFail.NoPermission')) throw new Error(reason);
  },
};

run('node credentials', checks);
