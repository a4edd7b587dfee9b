"""Creates the files of one run in the given folder: a certificate, an identity provider's keys, and two tokens."""

import base64
import datetime
import ipaddress
import json
import pathlib
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

folder = pathlib.Path(sys.argv[1])


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def private(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imm-emulator")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    .sign(key, hashes.SHA256())
)
(folder / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
(folder / "tls.key").write_bytes(private(key))

signer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
public = signer.public_key().public_numbers()
number = lambda value: b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
jwk = {"kty": "RSA", "kid": "sdk", "alg": "RS256", "n": number(public.n), "e": number(public.e)}
(folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))


def token(subject):
    claims = {"iss": "https://issuer.sdk.test", "aud": ["sts.aliyuncs.com"], "sub": subject,
              "exp": int(time.time()) + 3600}
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "sdk"}, claims)]
    message = ".".join(parts)
    return message + "." + b64(signer.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256()))


(folder / "token").write_text(token("system:serviceaccount:sdk:scorer"))
(folder / "stranger").write_text(token("system:serviceaccount:other:scorer"))
