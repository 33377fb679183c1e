"""
Certificates that the local Azure issues to devices: a device sends a certificate signing request,
with its registration (DPS) or, to renew, over its hub's $iothub/credentials/ topics. Both are
preview parts of Azure (certificate management of Azure Device Registry).

Of the service it is known which names, topics and codes there are, that a root (the credential)
has signed an issuing authority (the policy), both P-384, and that a certificate lives 7 to 90
days. What is ours: a request in a version that doesn't know of them is passed over; a certificate
is for the device id, whatever name the request asks for; a connection ends when its certificate
does; the one before stays good until its own end; `replace` "*" with nothing to replace is 412001.

Stands on cryptography and model.py; wire.py asks it.
"""

import asyncio
import base64
import binascii
import datetime
import uuid

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from .model import Refused, load_json, utc

DPS_VERSION = "2025-07-01-preview"  # of DPS; from it on a registration may hold a request
HUB_VERSION = "2025-08-01-preview"  # of a hub; from it on certificates are renewed there
FILTER = "$iothub/credentials/res/#"

DAYS = (7, 90)  # that a certificate may live, as the service allows
CSR_MAX = 8192  # characters of base64
LIFE_OF_AN_OPERATION = 12 * 3600
SKEW = 300  # seconds that a certificate is valid before it was made: clocks may be wrong
CA_DAYS = 3650
KEPT = 100  # serial numbers of each kind that are remembered of a device

# Codes of the hub's answers.
BAD_FIELD = 400004
BAD_JSON = 400006
BAD_CSR = 400040
ACTIVE = 409005
NOTHING_TO_REPLACE = 412001

# As long as those of the real service: a leaf of some 1.5 KB, an issuer of 1.1 KB.
_PLACE = (
    "http://certificates.localcloud.example/subscriptions/00000000-0000-0000-0000-000000000000"
    "/resourceGroups/localcloud/providers/DeviceRegistry/namespaces/%s"
    "/credentials/default/policies/default/%s"
)


class Certificates:
    """
    registry: the model.Registry, whose clock counts. days: how long a certificate lives
    from now on; delay: seconds from a hub's 202 to its 200.
    """

    def __init__(self, registry):
        self.registry = registry
        self.days = 30
        self.delay = 0
        kept = registry.setting("credential", self._make_authorities)
        self.root = x509.load_pem_x509_certificate(kept["root"].encode())
        self.issuer = x509.load_pem_x509_certificate(kept["issuer"].encode())
        self._key = serialization.load_pem_private_key(kept["key"].encode(), None)
        self._operations = {}  # device id -> Operation

    @property
    def root_pem(self):
        return self.root.public_bytes(serialization.Encoding.PEM).decode()

    def set(self, name, value):
        """days (7 to 90, as the service has it) or delay (s). ValueError for what can't be."""
        if name == "days" and not DAYS[0] <= value <= DAYS[1]:
            raise ValueError("certificate_days: %d to %d" % DAYS)
        if value < 0:
            raise ValueError("certificate_%s: not below 0" % name)
        setattr(self, name, value)

    # ---- authorities and what they sign

    def _make_authorities(self):
        root_key = ec.generate_private_key(ec.SECP384R1())
        key = ec.generate_private_key(ec.SECP384R1())
        root = self._make_authority("picolink local credential", root_key, None, root_key)
        issuer = self._make_authority("picolink local policy", key, root, root_key)
        return {
            "root": root.public_bytes(serialization.Encoding.PEM).decode(),
            "issuer": issuer.public_bytes(serialization.Encoding.PEM).decode(),
            "key": key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
        }

    def _make_authority(self, name, key, above, signing_key):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = self._now()
        builder = (
            self._builder(subject, above.subject if above else subject, key.public_key())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(True, 0 if above else 1), True)
        )
        if above:
            builder = self._with_places(builder, signing_key)
        return builder.sign(signing_key, hashes.SHA384())

    def _with_places(self, builder, signing_key):
        """Who has signed it, where that one's certificate is, and where what was revoked."""
        scope = uuid.uuid5(uuid.NAMESPACE_DNS, self.registry.scope_id)
        issuer = x509.UniformResourceIdentifier(_PLACE % (scope, "issuer.cer"))
        revoked = x509.UniformResourceIdentifier(_PLACE % (scope, "revoked.crl"))
        methods = AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP
        above = signing_key.public_key()
        return (
            builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), False)
            .add_extension(
                x509.AuthorityInformationAccess(
                    [x509.AccessDescription(method, issuer) for method in methods]
                ),
                False,
            )
            .add_extension(
                x509.CRLDistributionPoints([x509.DistributionPoint([revoked], None, None, None)]),
                False,
            )
        )

    @staticmethod
    def _builder(subject, issuer, public_key):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
        )

    def _now(self):
        return datetime.datetime.fromtimestamp(int(self.registry.now()), datetime.timezone.utc)

    def issue(self, device, public_key):
        """A chain for this device, from its certificate to the root: a list of base64 (DER)."""
        now = self._now()
        organisation = str(uuid.uuid5(uuid.NAMESPACE_DNS, self.registry.scope_id))
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, device.id[:64]),
            ]
        )
        names = [
            x509.DNSName("device"),
            x509.UniformResourceIdentifier(_PLACE % (organisation, "")),
        ]
        builder = (
            self._builder(subject, self.issuer.subject, public_key)
            .not_valid_before(now - datetime.timedelta(seconds=SKEW))
            .not_valid_after(now + datetime.timedelta(days=self.days))
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
            .add_extension(x509.SubjectAlternativeName(names), False)
        )
        leaf = self._with_places(builder, self._key).sign(self._key, hashes.SHA384())
        self._note(device, "issued", leaf)
        return [
            base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode()
            for one in (leaf, self.issuer, self.root)
        ]

    def read_csr(self, text):
        """The public key of a request, base64 of DER. ValueError says what is wrong with it."""
        if not isinstance(text, str) or not text:
            raise ValueError("csr: base64 of a PKCS#10 request in DER")
        if len(text) > CSR_MAX:
            raise ValueError("csr: at most 8 KB")
        try:
            der = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError("csr: not valid base64")
        try:
            request = x509.load_der_x509_csr(der)
            good = request.is_signature_valid
            names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as e:
            raise ValueError("csr: no PKCS#10 request: %s" % e)
        if not good:
            raise ValueError("csr: its signature is not made by its key")
        if len(names) != 1:
            raise ValueError("csr: a common name is missing")
        return request.public_key()

    def chain(self, device, csr, spoiled=None):
        """As issue(), for a request; None or a chain that is of no use where a fault says so."""
        key = self.read_csr(csr)
        if spoiled == "other":
            key = ec.generate_private_key(ec.SECP256R1()).public_key()
        chain = self.issue(device, key)
        if spoiled == "garbage":
            return ["AAAA" + chain[0][4:]] + chain[1:]
        return None if spoiled == "none" else chain

    # ---- what is known of a device's certificates

    @staticmethod
    def of(device):
        """Serial numbers (hex) of what was issued to a device, what it has used, and revoked."""
        empty = {"issued": [], "used": [], "revoked": []}
        return device.record.setdefault("certificates", empty)

    def _note(self, device, what, certificate):
        serial = "%x" % certificate.serial_number
        noted = self.of(device)[what]
        if serial not in noted:
            noted.append(serial)
            del noted[:-KEPT]
            self.registry.keep(device)

    def why_not(self, device, der):
        """
        (None, its end in seconds since 1970) when a certificate (DER) is this device's, or (why
        not, 0).
        """
        known = self.of(device)
        if device.keys or device.thumbprints or not known["issued"]:
            return "the certificate is not that of the device", 0
        try:
            leaf = x509.load_der_x509_certificate(der)
            leaf.verify_directly_issued_by(self.issuer)
        except (ValueError, TypeError, InvalidSignature):
            return "the certificate is not issued by the device's policy", 0
        serial = "%x" % leaf.serial_number
        if serial not in known["issued"] or serial in known["revoked"]:
            return "the certificate was issued to another device, or revoked", 0
        now = self._now()
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            return "the certificate is valid from %s to %s" % (
                leaf.not_valid_before_utc, leaf.not_valid_after_utc,
            ), 0  # fmt: skip
        self._note(device, "used", leaf)
        return None, leaf.not_valid_after_utc.timestamp()

    def revoke(self, device):
        """No certificate that was issued to the device until now is good any more."""
        known = self.of(device)
        known["revoked"] = list(known["issued"])
        self.registry.keep(device)

    # ---- renewal at the hub

    def answer(self, hub, client, rid, payload, how):
        """
        What the hub makes of a request to issue a certificate. hub: the azure.Hub, which sends
        what it is told; how: the fault ordered here, {} for none. A coroutine, or None.
        """
        device = client.data["device"]
        if _is_refusal(how) and not how.get("accepted"):
            raise self._ordered(how)
        if how.get("silent") and not how.get("accepted"):
            return None
        operation = self._begin(device, rid, payload)
        hub.send_credential(device, rid, 202, operation.accepted())
        if how.get("silent"):
            return None
        delay = how.get("delay", self.delay)
        if not delay:
            self._finish(hub, device, operation, how)
            return None
        return self._finish_later(hub, device, operation, how, delay)

    async def _finish_later(self, hub, device, operation, how, delay):
        await asyncio.sleep(delay)
        self._finish(hub, device, operation, how)

    @staticmethod
    def _ordered(how):
        code = how.get("code")
        refused = Refused(how.get("status") or code // 1000, "ordered by a test", code)
        refused.more = {"retryAfter": how["retry_after"]} if "retry_after" in how else {}
        return refused

    def _begin(self, device, rid, payload):
        """Take a request in: its Operation. Refused with the hub's codes."""
        if not payload.strip():
            raise _refused(400, BAD_FIELD, "the payload is missing: id and csr")
        try:
            body = load_json(payload)
        except Refused:
            raise _refused(400, BAD_JSON, "cannot decode json format")
        if not isinstance(body, dict) or set(body) - {"id", "csr", "replace"}:
            raise _refused(400, BAD_FIELD, "only id, csr and replace are allowed")
        if body.get("id") != device.id:
            raise _refused(400, BAD_FIELD, "id does not match the authenticated device id")
        csr, replace = body.get("csr"), body.get("replace")
        if not isinstance(csr, str) or not 0 < len(csr) <= CSR_MAX:
            raise _refused(400, BAD_FIELD, "csr is missing, or over 8 KB")
        if replace is not None and not _is_request_id(replace):
            raise _refused(400, BAD_FIELD, "replace has an invalid format")
        active = self.active(device)
        if replace is not None and (active is None or replace not in ("*", active.rid)):
            raise _refused(
                412, NOTHING_TO_REPLACE, "no active request to replace", {"requestId": replace}
            )
        if active is not None and replace is None and active.rid != rid:
            raise _refused(409, ACTIVE, "an operation is already active", active.about())
        ends = self.registry.now() + LIFE_OF_AN_OPERATION
        operation = self._operations[device.id] = Operation(rid, csr, ends)
        return operation

    def active(self, device):
        """The Operation that a hub has taken in for it and not decided yet, or None."""
        operation = self._operations.get(device.id)
        if operation is None or operation.done or operation.ends <= self.registry.now():
            return None
        return operation

    def _finish(self, hub, device, operation, how):
        if self._operations.get(device.id) is not operation:
            return  # replaced meanwhile
        try:
            if _is_refusal(how):
                raise self._ordered(how)
            chain = self.chain(device, operation.csr, how.get("chain")) or []
            body = {"correlationId": operation.correlation, "certificates": chain}
            operation.done = 200, body
        except ValueError as e:
            # What is no request is found by those who sign, after the hub has taken it.
            more = {"credentialError": "FailedToDecodeCsr", "credentialMessage": str(e)}
            refused = _refused(400, BAD_CSR, "a certificate signing request failed", more)
            operation.done = refused.status, error_body(refused)
        except Refused as e:
            operation.done = e.status, error_body(e)
        self.deliver(hub, device)

    def deliver(self, hub, device):
        """Send the device the outcome that waits for it, if it listens now."""
        operation = self._operations.get(device.id)
        if operation is not None and operation.done:
            if hub.send_credential(device, operation.rid, *operation.done):
                del self._operations[device.id]


class Operation:
    """A request that a hub has taken in; done: (status, body) once it is decided."""

    def __init__(self, rid, csr, ends):
        self.rid = rid
        self.csr = csr
        self.ends = ends
        self.correlation = str(uuid.uuid4())
        self.done = None

    def accepted(self):
        return {"correlationId": self.correlation, "operationExpires": utc(self.ends)}

    def about(self):
        return dict(self.accepted(), requestId=self.rid)


def _is_refusal(how):
    return "code" in how or "status" in how


def _refused(status, code, text, info=None):
    refused = Refused(status, text, code)
    refused.more = {"info": info}
    return refused


def error_body(refused):
    """The body of a hub's refusal."""
    return dict(refused.details(), **getattr(refused, "more", {}))


def _is_request_id(text):
    good = isinstance(text, str) and 4 <= len(text) <= 36 and text.replace("-", "").isalnum()
    return text == "*" or (good and "-" not in (text[0], text[-1]))
