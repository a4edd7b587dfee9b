// ali-oss: the same calls as the Python client, signed V1 (its default) and V4, with an IP endpoint.
'use strict';

const path = require('path');
const { run } = require('./checks.js');
const OSS = require(path.join(process.env.SDK_NODE_MODULES, 'ali-oss'));

const authorizationV4 = process.argv[2] === 'v4';
const bucket = 'sdk-bucket';
const uid = { caller: '1111222233334444', owner: '5555666677778888' };
const policy = {
  Version: '1',
  Statement: [
    {
      Effect: 'Allow',
      Action: ['oss:GetObject'],
      Principal: [`arn:sts::${uid.caller}:assumed-role/AliyunIMMDefaultRole/*`],
      Resource: [`acs:oss:*:${uid.owner}:${bucket}/*`],
    },
  ],
};
const oddKeys = ['odd/a b+ü~.txt', "odd/*'()!@$&=;:,?#[]%.txt", 'odd/测试/对象.txt', 'odd/<tag>&.txt'];

function client(accessKeyId, accessKeySecret, more = {}) {
  return new OSS({
    accessKeyId,
    accessKeySecret,
    authorizationV4,
    bucket,
    region: 'oss-cn-hangzhou',
    endpoint: process.env.EMULATOR_URL,
    ...more,
  });
}

const owner = client('LTAI5tSdkOwner000001', 'canary-sdk-owner');
const caller = client('LTAI5tSdkCaller00001', 'canary-sdk-caller');

function same(found, wanted) {
  const [left, right] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`found ${left}, wanted ${right}`);
}

async function refused(act, status, code) {
  let error;
  try {
    await act();
  } catch (raised) {
    error = raised;
  }
  if (!error) throw new Error('the call succeeded');
  same([error.status, error.code], [status, code]);
}

// This client returns "no policy" after any failure to read one, so only the status shows the difference.
async function policyStatusOf(who, name) {
  return (await who.getBucketPolicy(name)).status;
}

async function collect(body) {
  return Buffer.isBuffer(body) ? body.toString() : String(body);
}

const checks = {
  'policy put, get, delete, and none': async () => {
    same((await owner.putBucketPolicy(bucket, policy)).status, 200);
    const got = await owner.getBucketPolicy(bucket);
    same([got.status, got.policy], [200, policy]);
    same((await owner.deleteBucketPolicy(bucket)).status, 204);
    same((await owner.deleteBucketPolicy(bucket)).status, 204);
    same(await policyStatusOf(owner, bucket), 404);
  },
  'public policy under the block': async () => {
    const open = { ...policy, Statement: [{ ...policy.Statement[0], Principal: ['*'] }] };
    await refused(() => owner.putBucketPolicy(bucket, open), 403, 'AccessDenied');
  },
  'bucket info, location, acl, list of buckets': async () => {
    const info = (await owner.getBucketInfo(bucket)).bucket;
    same([info.Name, info.Owner.ID, info.Location], [bucket, uid.owner, 'oss-cn-hangzhou']);
    same((await owner.getBucketLocation(bucket)).location, 'oss-cn-hangzhou');
    same((await owner.getBucketACL(bucket)).acl, 'private');
    same((await owner.listBuckets()).buckets.map((one) => one.name), [bucket]);
  },
  'put, head and get objects with odd keys': async () => {
    for (const key of oddKeys) {
      same((await owner.put(key, Buffer.from(key))).res.status, 200);
      same((await owner.head(key)).status, 200);
      same(await collect((await owner.get(key)).content), key);
    }
  },
  'list with encoding-type=url, in pages': async () => {
    const found = [];
    let token;
    // This client does not decode keys. A list with more than 10 pages is a failure, so that the check cannot loop forever.
    for (let pages = 0; pages < 1 || token; pages += 1) {
      if (pages === 10) throw new Error('the list has more than 10 pages');
      const page = await owner.listV2({
        prefix: 'odd/',
        'max-keys': 2,
        'encoding-type': 'url',
        'continuation-token': token,
      });
      found.push(...page.objects.map((one) => decodeURIComponent(one.name)));
      token = page.nextContinuationToken;
    }
    for (const key of oddKeys) same([key, found.includes(key)], [key, true]);
  },
  'wrong key': () => refused(() => client('LTAI5tNobody', 'x').head('picture.jpg'), 403, 'InvalidAccessKeyId'),
  'wrong secret': () =>
    refused(() => client('LTAI5tSdkOwner000001', 'x').putBucketPolicy(bucket, policy), 403, 'SignatureDoesNotMatch'),
  'no bucket': async () => {
    await refused(() => owner.putBucketPolicy('no-such-bucket', policy), 404, 'NoSuchBucket');
    await refused(() => owner.getBucketInfo('no-such-bucket'), 404, 'NoSuchBucket');
    same(await policyStatusOf(owner, 'no-such-bucket'), 404);
  },
  'foreign bucket': async () => {
    await refused(() => owner.putBucketPolicy('foreign-bucket', policy), 403, 'AccessDenied');
    await refused(() => owner.deleteBucketPolicy('foreign-bucket'), 403, 'AccessDenied');
    same(await policyStatusOf(owner, 'foreign-bucket'), 403);
  },
  'missing object': async () => {
    await refused(() => owner.head('none'), 404, 'NoSuchKey');
    await refused(() => owner.get('none'), 404, 'NoSuchKey');
  },
  'denied object': () => refused(() => caller.get('picture.jpg'), 403, 'AccessDenied'),
};

run(`node ali-oss ${authorizationV4 ? 'v4' : 'v1'}`, checks);
