"""IBM's share in the local cloud, with identities to begin with."""

import json
import re
import secrets

from .. import strict_json
from ..part import CloudError
from ..part import Part as AnyPart
from .api import Api
from .control import Control
from .model import DEVICE, GATEWAY, Historian, Registry, is_name
from .wire import Ibm


class Part(AnyPart):
    """IBM in the local cloud: MQTT, management API, historian."""

    key = "ibm"
    title = "IBM IoT Foundation"

    @staticmethod
    def options(group):
        group.add_argument(
            "--ibm-org",
            default="abc123",
            type=_org,
            metavar="ORG",
            help="organisation, six letters and digits (default: %(default)s)",
        )
        group.add_argument(
            "--ibm-domain",
            default="internetofthings.ibmcloud.com",
            metavar="DOMAIN",
            help="domain that the certificate names as <org>.messaging.DOMAIN (MQTT) and "
            "<org>.DOMAIN (HTTP) (default: %(default)s)",
        )
        for kind in ("device", "gateway"):
            group.add_argument(
                "--ibm-" + kind,
                action="append",
                default=[],
                type=_device,
                metavar="TYPE:ID:TOKEN",
                help="register this %s too; may be repeated" % kind,
            )
        group.add_argument(
            "--ibm-key",
            action="append",
            default=[],
            type=_key,
            metavar="KEY:TOKEN",
            help="take this API key too, of the form a-<org>-<anything>, of any organisation; may "
            "be repeated",
        )
        group.add_argument(
            "--ibm-history",
            type=_count,
            default=500000,
            metavar="N",
            help="events that the historian keeps; the oldest go first (default: %(default)s)",
        )

    @staticmethod
    def names(options):
        domain = options.ibm_domain
        org = options.ibm_org
        names = ["*.messaging." + domain, "*." + domain, "messaging." + domain]
        return names + ["%s.messaging.%s" % (org, domain), "%s.%s" % (org, domain)]

    def __init__(self, cloud):
        super().__init__(cloud)
        options = cloud.options
        self.registry = Registry(cloud.store, cloud.clock)
        self.historian = Historian(cloud.store, options.ibm_history, cloud.clock)
        self.service = cloud.mqtt.add(Ibm(self.registry, self.historian))
        Api(self.service, options.ibm_domain).add_to(cloud.web)
        self.identity = None

    def controls(self):
        return Control(self.service).paths()

    async def start(self):
        org = self.cloud.options.ibm_org
        # The tokens are kept readable for the ready line; the database has them hashed only.
        kept = self.cloud.secret_file("ibm-%s.json" % org, lambda: json.dumps(make_identity(org)))
        try:
            self.identity = strict_json.loads(kept)
            device = self.identity["device"]
            application = self.identity["application"]
        except (ValueError, KeyError, TypeError):
            raise CloudError(
                "%s/ibm-%s.json is damaged: delete it for new credentials"
                % (self.cloud.state, org)
            )
        options = self.cloud.options
        registry = self.registry
        registry.add_org(org)
        wanted = [(device["type"], device["id"], device["token"])] + options.ibm_device
        await registry.ensure_devices(org, DEVICE, wanted)
        await registry.ensure_devices(org, GATEWAY, options.ibm_gateway)
        await registry.ensure_keys([(application["key"], application["token"])] + options.ibm_key)

    def introduce(self):
        device, application = self.identity["device"], self.identity["application"]
        where = self.cloud.mqtt_place()
        return [
            ("organisation", self.identity["org"]),
            ("device", "type {type}, id {id}, token {token}".format(**device)),
            ("application", "key {key}, token {token}".format(**application)),
            ("where", "{host} port {port} with TLS; API {url}".format(**where)),
        ]

    def device(self):
        where = self.cloud.mqtt_place()
        return dict(
            self.identity["device"],
            service="ibm",
            org=self.identity["org"],
            host=where["host"],
            port=where["port"],
            ca=self.cloud.pki.ca_der,
        )

    def ready(self):
        return dict(self.identity, domain=self.cloud.options.ibm_domain)


def make_identity(org):
    """The device and the application that the ready line offers."""
    return {
        "org": org,
        "device": {"type": "board", "id": "board-1", "token": secrets.token_urlsafe(15)},
        "application": {
            "id": "dashboard",
            "key": "a-%s-%s" % (org, secrets.token_hex(5)),
            "token": secrets.token_urlsafe(15),
        },
    }


def _org(text):
    if not re.fullmatch("[A-Za-z0-9]{6}", text):
        raise ValueError(text)
    return text


def _device(text):
    type, id, token = text.split(":", 2)
    if not is_name(type) or not is_name(id) or not token:
        raise ValueError(text)
    return type, id, token


def _key(text):
    key, token = text.split(":", 1)
    if not re.fullmatch("a-[A-Za-z0-9]{6}-[^/+#:]+", key) or not token:
        raise ValueError(text)
    return key, token


def _count(text):
    if not text.isdigit() or not int(text):
        raise ValueError(text)
    return int(text)


# argparse names the type in its error text.
_org.__name__ = "organisation (six letters and digits)"
_device.__name__ = "TYPE:ID:TOKEN"
_key.__name__ = "KEY:TOKEN"
_count.__name__ = "number of events (1 or more)"
