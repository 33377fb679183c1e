"""
A client in the way of the vendor's SDK, made of paho-mqtt and cryptography: the local cloud's
agent must serve it. Nothing of lib/ is in here.

Like the SDK: RSA 2048, empty client id, clean session, keep-alive 60; for each call it subscribes
to where the answer and the error are expected (QoS 1) and publishes at once (QoS 1), without
waiting for the SUBACK; subscriptions pile up; one list for all answers.
"""

import hashlib
import json
import os
import queue
import re
import ssl

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class SdkLike:
    """parameters: host, provision_port, port, ca_file; folder, name: of the files."""

    def __init__(self, parameters, folder, name="python_sdk_client", tls_provisioning=True):
        self.parameters = parameters
        self.base = os.path.join(str(folder), name)
        self.name = name
        self.tls_provisioning = tls_provisioning
        self.heard = queue.Queue()  # (topic, payload)
        self.connector = None
        self._client = None

    def close(self):
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _open(self, port, certificate=None, key=None, tls=True):
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id="",
            clean_session=True,
            protocol=paho.MQTTv311,
        )
        if tls:
            client.tls_set(
                self.parameters["ca_file"],
                certificate,
                key,
                cert_reqs=ssl.CERT_REQUIRED,
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        connected = queue.Queue()
        client.on_connect = lambda client, data, flags, rc, more: connected.put(str(rc))
        client.on_message = lambda client, data, m: self.heard.put((m.topic, m.payload))
        client.connect("localhost", port, 60)
        client.loop_start()
        self._client = client
        return connected.get(timeout=10)

    # ---- provisioning

    def provision(self):
        """Key, request, certificate; returns the certificate's common name."""
        key = rsa.generate_private_key(65537, 2048)
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        with open(self.base + "-key.pem", "wb") as f:
            f.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.TraditionalOpenSSL,
                    serialization.NoEncryption(),
                )
            )
        rc = self._open(self.parameters["provision_port"], tls=self.tls_provisioning)
        assert rc == "Success"
        back = "/certBack/" + hashlib.sha256(request).hexdigest()
        topic, payload = self._publish("/createConnector", back, back + "/error", request)
        self.close()
        assert topic == back, payload
        block = re.findall(
            "(-----BEGIN .+?-----.+?-----END .+?-----)", payload.decode("latin-1"), re.S
        )[0]
        with open(self.base + "-cert.pem", "w") as f:
            f.write(block)
        return self._read_connector()

    def _read_connector(self):
        with open(self.base + "-cert.pem", "rb") as f:
            certificate = x509.load_pem_x509_certificate(f.read())
        self.connector = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[
            0
        ].value
        return self.connector

    def connect(self):
        """With the certificate; returns paho's words for CONNACK's code."""
        self._read_connector()
        return self._open(self.parameters["port"], self.base + "-cert.pem", self.base + "-key.pem")

    # ---- calls: topics as the SDK 1.1.0 has them; each returns (topic, payload) of what came

    def _publish(self, topic, answer, error, payload, timeout=10):
        if answer is not None:
            self._client.subscribe(answer, 1)
        if error is not None:
            self._client.subscribe(error, 1)
        self._client.publish(topic, payload, qos=1)
        return self.heard.get(timeout=timeout) if timeout else None

    def _call(self, path, answer, error, body, timeout=10):
        base = "/v1.0/" + self.connector
        payload = body if isinstance(body, str) else json.dumps(body)
        got = self._publish(
            base + path,
            base + answer if answer is not None else None,
            base + error,
            payload,
            timeout,
        )
        return got and (got[0].replace(base, "", 1), got[1])

    def list_sensors(self):
        return self._call("/inventory", "/inventory/inbox", "/inventory/error/inbox", {})

    def check_connection(self):
        body = '{"request": "Ping"}'
        return self._call("/ping", "/ping/info/inbox", "/ping/error/inbox", body)

    def deprovision(self):
        return self._call("/delete", None, "/delete/error/inbox", {}, timeout=None)

    def create_sensor(self, name):
        body = {"name": name}
        return self._call("/sensor/create", "/sensor/inbox", "/sensor/error/inbox", body)

    def update_sensor(self, sensor, name, timeout=None):
        s = "/sensor/%s/update" % sensor
        return self._call(s, None, s + "/error/inbox", {"name": name}, timeout)

    def delete_sensor(self, sensor):
        s = "/sensor/%s/delete" % sensor
        return self._call(s, s + "/info/inbox", s + "/error/inbox", {})

    def create_metric(self, definitions, sensor):
        s = "/sensor/%s/metric" % sensor
        return self._call(s, s + "/inbox", s + "/error/inbox", definitions)

    def update_metrics(self, sensor, info):
        s = "/sensor/%s/metric/update" % sensor
        return self._call(s, s + "/info/inbox", s + "/error/inbox", info)

    def describe_metric(self, metric, sensor):
        s = "/sensor/%s" % sensor
        m = "%s/metric/%s/inventory" % (s, metric)
        return self._call(m, m + "/inbox", s + "/inventory/error/inbox", {})

    def delete_metric(self, text, sensor):
        s = "/sensor/%s" % sensor
        return self._call(
            s + "/metric/delete", s + "/delete/info/inbox", s + "/delete/error/inbox", text
        )

    def push_metrics(self, sensor, data, timestamp=None):
        if timestamp is not None:
            data = dict(data, timestamp=timestamp)
        s = "/sensor/%s" % sensor
        return self._call(s + "/metric/pushValues", s + "/info/inbox", s + "/error/inbox", data)

    def listen_live_data(self, sensor):
        self._client.subscribe("/v1.0/%s/sensor/%s/livedata" % (self.connector, sensor))

    def client_error(self, text):
        return self._call("/error", None, "/error/inbox", text, timeout=None)

    def sensor_error(self, text, sensor):
        # Without the slashes, as published.
        s = "sensor%s/error" % sensor
        return self._call(s, None, s + "/inbox", text, timeout=None)
