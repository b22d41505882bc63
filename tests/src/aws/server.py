"""moto as a server, and before its STS a door that checks signed URLs as AWS does, with AWS's own library.

Says on stdout, as one line of JSON, where both are and what keys two roles have. The door also gives a role's keys away
as the endpoint inside a container does (`/credentials/<role>`) and counts questions (`/count`).
"""

import datetime
import json
import sys
import threading
import time
import types
import warnings
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# What moto's server needs for browsers only, and nothing here is one.
sys.modules["flask_cors"] = types.SimpleNamespace(CORS=lambda *_, **__: None)
warnings.simplefilter("ignore")
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from moto.acmpca.models import CertificateAuthority  # noqa: E402
from moto.acmpca.responses import ACMPCAResponse  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402


class Validity:
    """moto gives every certificate a year, whatever was asked for; AWS does what it is asked."""

    asked = threading.local()
    issue = ACMPCAResponse.issue_certificate

    def issue_certificate(self):
        Validity.asked.value = self._get_param("Validity")
        return Validity.issue(self)

    def generate_cert(self, subject, public_key, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        value = Validity.asked.value
        until = now + datetime.timedelta(days=365)
        if value["Type"] == "ABSOLUTE":
            until = datetime.datetime.fromtimestamp(value["Value"], datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.issuer).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(until)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


ACMPCAResponse.issue_certificate = Validity.issue_certificate
CertificateAuthority.generate_cert = Validity.generate_cert

REGION = "eu-west-1"
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
moto.start()
MOTO = "http://%s:%d" % moto.get_host_and_port()


def service(name):
    return boto3.client(
        name, region_name=REGION, endpoint_url=MOTO, aws_access_key_id="test", aws_secret_access_key="test"
    )


def assume(name):
    role = service("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]
    return service("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="task")["Credentials"]


ROLES = {name: assume(name) for name in ("front", "back")}
SECRETS = {one["AccessKeyId"]: one for one in ROLES.values()}
count = 0


def expected(path, headers):
    """The signature that AWS's library makes of the request as it arrived."""
    query = dict(urllib.parse.parse_qsl(path.partition("?")[2], strict_parsing=True))
    key, _, region, name, _ = query["X-Amz-Credential"].split("/")
    known = SECRETS[key]
    until = time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    age = datetime.datetime.now(datetime.timezone.utc).timestamp() - time.mktime(until) + time.timezone
    assert age < int(query["X-Amz-Expires"]), "expired"
    own = {name: value for name, value in query.items() if not name.startswith("X-Amz-")}
    url = "http://%s/?%s" % (headers["host"], urllib.parse.urlencode(own))
    names = [one for one in query["X-Amz-SignedHeaders"].split(";") if one != "host"]
    request = AWSRequest("GET", url=url, headers={one: headers[one] for one in names})
    request.context["timestamp"] = query["X-Amz-Date"]
    credentials = Credentials(key, known["SecretAccessKey"], known["SessionToken"])
    auth = SigV4QueryAuth(credentials, name, region, expires=int(query["X-Amz-Expires"]))
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return query["X-Amz-Credential"], query["X-Amz-Signature"], auth.signature(text, request)


class Door(BaseHTTPRequestHandler):
    def do_GET(self):
        global count
        if self.path == "/count":
            return self.answer(200, str(count))
        if self.path.startswith("/credentials/"):
            one = ROLES[self.path.rpartition("/")[2]]
            until = one["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ")
            answer = {"AccessKeyId": one["AccessKeyId"], "SecretAccessKey": one["SecretAccessKey"]}
            return self.answer(200, json.dumps(answer | {"Token": one["SessionToken"], "Expiration": until}))
        count += 1
        try:
            credential, given, wanted = expected(self.path, self.headers)
            assert given == wanted, "signature"
        except Exception as error:
            return self.answer(403, "<ErrorResponse><Error><Code>%s</Code></Error></ErrorResponse>" % error)
        # moto checks no signature; it knows keys by the header alone.
        head = {"Authorization": "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=host, Signature=0" % credential}
        form = b"Action=GetCallerIdentity&Version=2011-06-15"
        with urllib.request.urlopen(urllib.request.Request(MOTO, data=form, headers=head)) as response:
            self.answer(200, response.read().decode())

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def authority():
    pca = service("acm-pca")
    config = {"KeyAlgorithm": "RSA_2048", "SigningAlgorithm": "SHA256WITHRSA", "Subject": {"CommonName": "mesh"}}
    kind = {"CertificateAuthorityConfiguration": config, "CertificateAuthorityType": "ROOT"}
    arn = pca.create_certificate_authority(**kind)["CertificateAuthorityArn"]
    own = {"CertificateAuthorityArn": arn}
    issued = pca.issue_certificate(
        Csr=pca.get_certificate_authority_csr(**own)["Csr"].encode(),
        SigningAlgorithm="SHA256WITHRSA",
        TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
        Validity={"Type": "DAYS", "Value": 365},
        **own,
    )
    root = pca.get_certificate(CertificateArn=issued["CertificateArn"], **own)["Certificate"]
    pca.import_certificate_authority_certificate(Certificate=root.encode(), **own)
    return arn


door = ThreadingHTTPServer(("127.0.0.1", 0), Door)
roles = {
    name: {"id": one["AccessKeyId"], "secret": one["SecretAccessKey"], "token": one["SessionToken"]}
    for name, one in ROLES.items()
}
print(json.dumps({"moto": MOTO, "authority": authority(), "sts": "http://127.0.0.1:%d" % door.server_port, "roles": roles}))
sys.stdout.flush()
door.serve_forever()
