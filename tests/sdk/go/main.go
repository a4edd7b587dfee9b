// The Go clients of OSS and of credentials: the same calls as the Python clients, signed V4 (the default) and V1.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"
	osscredentials "github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/credentials"
	"github.com/aliyun/credentials-go/credentials"
)

const (
	bucket    = "sdk-bucket"
	callerUID = "1111222233334444"
	ownerUID  = "5555666677778888"
	role      = "acs:ram::" + ownerUID + ":role/sdk-session"
	provider  = "acs:ram::" + ownerUID + ":oidc-provider/ack-rrsa-sdk"
	// White space and order are unusual on purpose: the response must have the same bytes.
	policy = ` {"Statement":[ {"Effect":"Allow","Action":["oss:GetObject"],` + "\n\t" + `"Principal":["arn:sts::` + callerUID +
		`:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:` + ownerUID + `:` + bucket + `/*"]}], "Version":"1"}` + "\n"
	public = `{"Version":"1","Statement":[{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["*"],` +
		`"Resource":["acs:oss:*:` + ownerUID + `:` + bucket + `/*"]}]}`
)

var (
	url     = os.Getenv("EMULATOR_URL")
	host    = strings.TrimPrefix(url, "http://")
	oddKeys = []string{"odd/a b+ü~.txt", "odd/*'()!@$&=;:,?#[]%.txt", "odd/测试/对象.txt", "odd/<tag>&\"q\".txt"}
	ctx     = context.Background()
)

type keys struct{ id, secret, token string }

var (
	owner  = keys{id: "LTAI5tSdkOwner000001", secret: "canary-sdk-owner"}
	caller = keys{id: "LTAI5tSdkCaller00001", secret: "canary-sdk-caller"}
)

func client(with keys, version oss.SignatureVersionType) *oss.Client {
	source := osscredentials.NewStaticCredentialsProvider(with.id, with.secret, with.token)
	config := oss.LoadDefaultConfig().WithCredentialsProvider(source).WithRegion("cn-hangzhou").
		WithEndpoint(url).WithSignatureVersion(version)
	return oss.NewClient(config)
}

// same fails unless both values are printed alike.
func same(found, wanted any) error {
	if left, right := fmt.Sprintf("%#v", found), fmt.Sprintf("%#v", wanted); left != right {
		return fmt.Errorf("found %s, wanted %s", left, right)
	}
	return nil
}

// refused fails unless the call failed with this status and code of the service.
func refused(failure error, status int, code string) error {
	var answer *oss.ServiceError
	if !errors.As(failure, &answer) {
		return fmt.Errorf("no answer of the service: %v", failure)
	}
	return same([]any{answer.StatusCode, answer.Code}, []any{status, code})
}

func put(who *oss.Client, name, body string) error {
	_, failure := who.PutBucketPolicy(ctx, &oss.PutBucketPolicyRequest{Bucket: oss.Ptr(name), Body: strings.NewReader(body)})
	return failure
}

func drop(who *oss.Client, name string) error {
	_, failure := who.DeleteBucketPolicy(ctx, &oss.DeleteBucketPolicyRequest{Bucket: oss.Ptr(name)})
	return failure
}

func get(who *oss.Client, name string) (string, error) {
	answer, failure := who.GetBucketPolicy(ctx, &oss.GetBucketPolicyRequest{Bucket: oss.Ptr(name)})
	if failure != nil {
		return "", failure
	}
	return answer.Body, nil
}

func policyLife(own *oss.Client) error {
	if failure := put(own, bucket, policy); failure != nil {
		return failure
	}
	found, failure := get(own, bucket)
	if failure != nil {
		return failure
	}
	status, failure := own.GetBucketPolicyStatus(ctx, &oss.GetBucketPolicyStatusRequest{Bucket: oss.Ptr(bucket)})
	if failure != nil {
		return failure
	}
	if failure := errors.Join(drop(own, bucket), drop(own, bucket)); failure != nil {
		return failure
	}
	_, none := get(own, bucket)
	return errors.Join(
		same(found, policy),
		same(*status.PolicyStatus.IsPublic, false),
		refused(none, 404, "NoSuchBucketPolicy"),
	)
}

func publicAccess(own *oss.Client) error {
	block, failure := own.GetBucketPublicAccessBlock(ctx, &oss.GetBucketPublicAccessBlockRequest{Bucket: oss.Ptr(bucket)})
	if failure != nil {
		return failure
	}
	return errors.Join(
		same(*block.PublicAccessBlockConfiguration.BlockPublicAccess, true),
		refused(put(own, bucket, public), 403, "AccessDenied"),
	)
}

func bucketInfo(own *oss.Client) error {
	answer, failure := own.GetBucketInfo(ctx, &oss.GetBucketInfoRequest{Bucket: oss.Ptr(bucket)})
	if failure != nil {
		return failure
	}
	info := answer.BucketInfo
	return same([]string{*info.Name, *info.Owner.ID, *info.Location}, []string{bucket, ownerUID, "oss-cn-hangzhou"})
}

func objects(own *oss.Client) error {
	for _, key := range oddKeys {
		request := &oss.PutObjectRequest{Bucket: oss.Ptr(bucket), Key: oss.Ptr(key), Body: strings.NewReader(key)}
		if _, failure := own.PutObject(ctx, request); failure != nil {
			return failure
		}
		head, failure := own.HeadObject(ctx, &oss.HeadObjectRequest{Bucket: oss.Ptr(bucket), Key: oss.Ptr(key)})
		if failure != nil {
			return failure
		}
		found, failure := own.GetObject(ctx, &oss.GetObjectRequest{Bucket: oss.Ptr(bucket), Key: oss.Ptr(key)})
		if failure != nil {
			return failure
		}
		body, failure := io.ReadAll(found.Body)
		if failure = errors.Join(failure, found.Body.Close()); failure != nil {
			return failure
		}
		if failure := errors.Join(same(string(body), key), same(head.ContentLength, int64(len(key)))); failure != nil {
			return failure
		}
	}
	return nil
}

func listing(own *oss.Client) error {
	pages := own.NewListObjectsV2Paginator(
		&oss.ListObjectsV2Request{Bucket: oss.Ptr(bucket), Prefix: oss.Ptr("odd/"), MaxKeys: 2})
	found := map[string]bool{}
	// A list with more than 10 pages is a failure, so that the check cannot loop forever.
	for page := 0; pages.HasNext(); page++ {
		if page == 10 {
			return errors.New("the list has more than 10 pages")
		}
		answer, failure := pages.NextPage(ctx)
		if failure != nil {
			return failure
		}
		for _, object := range answer.Contents {
			found[*object.Key] = true
		}
	}
	for _, key := range oddKeys {
		if !found[key] {
			return fmt.Errorf("%q is not listed", key)
		}
	}
	return nil
}

func refusals(version oss.SignatureVersionType) func(*oss.Client) error {
	return func(own *oss.Client) error {
		_, nowhere := get(own, "no-such-bucket")
		_, nobody := get(client(keys{id: "LTAI5tNobody", secret: "x"}, version), bucket)
		_, wrong := get(client(keys{id: owner.id, secret: "x"}, version), bucket)
		_, missing := own.GetObject(ctx, &oss.GetObjectRequest{Bucket: oss.Ptr(bucket), Key: oss.Ptr("none")})
		_, denied := client(caller, version).GetObject(
			ctx, &oss.GetObjectRequest{Bucket: oss.Ptr(bucket), Key: oss.Ptr("picture.jpg")})
		return errors.Join(
			refused(nowhere, 404, "NoSuchBucket"),
			refused(put(own, "foreign-bucket", policy), 403, "AccessDenied"),
			refused(nobody, 403, "InvalidAccessKeyId"),
			refused(wrong, 403, "SignatureDoesNotMatch"),
			refused(missing, 404, "NoSuchKey"),
			refused(denied, 403, "AccessDenied"),
		)
	}
}

// opened returns the session of a source of credentials. The package calls STS only over HTTPS; run.sh makes Go trust the
// emulator's certificate.
func opened(config *credentials.Config) (keys, error) {
	source, failure := credentials.NewCredential(config.SetRoleArn(role).SetRoleSessionName("sdk").SetSTSEndpoint(host))
	if failure != nil {
		return keys{}, failure
	}
	session, failure := source.GetCredential()
	if failure != nil {
		return keys{}, failure
	}
	return keys{*session.AccessKeyId, *session.AccessKeySecret, *session.SecurityToken}, nil
}

func oidc(file string) *credentials.Config {
	return new(credentials.Config).SetType("oidc_role_arn").SetOIDCProviderArn(provider).SetOIDCTokenFilePath(file)
}

func opensTheBucket(config *credentials.Config) error {
	session, failure := opened(config)
	if failure != nil {
		return failure
	}
	return bucketInfo(client(session, oss.SignatureVersionV4))
}

func stranger() error {
	_, failure := opened(oidc(os.Getenv("OIDC_STRANGER_FILE")))
	if failure == nil || !strings.Contains(failure.Error(), "AuthenticationFail.NoPermission") {
		return fmt.Errorf("the error is %v", failure)
	}
	return nil
}

func report(name string, failure error) {
	if failure == nil {
		fmt.Println("ok", name)
		return
	}
	reason := bytes.Join(bytes.Fields([]byte(failure.Error())), []byte(" "))
	fmt.Printf("FAIL %s %.300s\n", name, reason)
}

func main() {
	versions := []struct {
		name    string
		version oss.SignatureVersionType
	}{{"v4", oss.SignatureVersionV4}, {"v1", oss.SignatureVersionV1}}
	for _, one := range versions {
		own := client(owner, one.version)
		for _, check := range []struct {
			name string
			act  func(*oss.Client) error
		}{
			{"policy put, get byte for byte, status, delete, and none", policyLife},
			{"public access block, and a public policy under it", publicAccess},
			{"bucket info", bucketInfo},
			{"put, head and get objects with odd keys", objects},
			{"list in pages", listing},
			{"refusals", refusals(one.version)},
		} {
			report(fmt.Sprintf("go oss %s: %s", one.name, check.name), check.act(own))
		}
	}
	ram := new(credentials.Config).SetType("ram_role_arn").SetAccessKeyId(owner.id).SetAccessKeySecret(owner.secret)
	report("go credentials: AssumeRole over HTTPS", opensTheBucket(ram))
	uri := new(credentials.Config).SetType("credentials_uri").SetURLCredential(os.Getenv("EMULATOR_URL") + "/-/credentials")
	report("go credentials: a credentials URI", opensTheBucket(uri))
	report("go credentials: OIDC over HTTPS", opensTheBucket(oidc(os.Getenv("OIDC_TOKEN_FILE"))))
	report("go credentials: OIDC with an untrusted subject", stranger())
}
