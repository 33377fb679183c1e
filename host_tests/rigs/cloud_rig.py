"""
What the tests of cloud.py share: one local cloud, each service in it as a Place that device and
watcher programs use, and a line to each that can be cut.
"""

import contextlib
import json
import re
import threading

import paho.mqtt.client as paho
import pytest
from localcloud import faults
from localcloud_rig import Control
from serving import Refusing  # noqa: F401 (for those who have a Place)

from workshop import processes
from waiting import until

WATCHERS = ("ibm", "mqtt", "digi")


class Listener:
    """A client of the MQTT side: hears the filters from its start on."""

    def __init__(self, host, port, filters, client_id="", user=None, password=None):
        self.got = []  # (topic, payload)
        ready = threading.Event()
        self.client = client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id)
        if user:
            client.username_pw_set(user, password)
        client.on_message = lambda c, u, m: self.got.append((m.topic, m.payload))
        client.on_subscribe = lambda *args: ready.set()
        client.connect(host, port)
        client.loop_start()
        client.subscribe([(name, 1) for name in filters])
        assert ready.wait(15), "the listener's subscription was not acknowledged"

    def publish(self, topic, payload, retain=False):
        self.client.publish(topic, payload, 1, retain).wait_for_publish(10)

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


class World:
    """A running local cloud (its ready line) and a FaultProxy to each of its MQTT ports."""

    def __init__(self, ready, state):
        self.ready = ready
        self.state = state
        self._stack = contextlib.ExitStack()
        mqtt = ready["mqtt"]
        self.line = self._proxy(mqtt["host"], mqtt["tls_port"])
        self.agent_line = self._proxy(ready["teamviewer"]["host"], ready["teamviewer"]["port"])
        self._control = Control(ready)

    def _proxy(self, host, port):
        return self._stack.enter_context(faults.FaultProxy("127.0.0.1", port))

    def control(self, method, path, body=None):
        """The control side's answer, as JSON; None for what is not there (yet)."""
        status, answer = self._control(method, path, body)
        assert status < 400 or status == 404, answer
        return answer if status < 400 else None

    def place(self, service, name, folder):
        """A Place for a device of its own, called `name`. folder: for its files."""
        return PLACES[service](self, name, folder)

    def stop(self):
        self._stack.close()


class Place:
    """
    One device's place at a service. settings: for cloud.Device. The rest is the service's side.

    messages(): [(name, fields)] in the order of arrival. reported(): dict. command(name, args):
    (status, answer). set(name, value). accepted(name, value): whether the device took a setting.

    A new service is a class here and its place in PLACES: that makes the contract's tests run on
    it. Every service has messages with names, and reports.
    """

    service = None
    has = ("command", "setting", "report")
    wrong = None  # settings that the service refuses
    told = ""  # a word that the refusal's text has
    lets_all_in = False  # True: it is the device that refuses the service

    def __init__(self, world, name, folder):
        self.world = world
        self.name = name
        self.folder = folder
        self.line = world.line
        self.settings = {"service": self.service, "id": name}
        self.listeners = []
        self._make()

    def listen(self, *filters, **options):
        """A Listener, ended with the Place."""
        mqtt = self.world.ready["mqtt"]
        listener = Listener(mqtt["host"], mqtt["port"], filters, **options)
        self.listeners.append(listener)
        return listener

    def close(self):
        for listener in self.listeners:
            listener.stop()

    def wait_subscribed(self, client_id, part):
        """Until the broker has a filter with `part` in it of that client: it hears of such now."""

        def stands():
            for client in self.world.control("GET", "/clients"):
                if client["client_id"] == client_id:
                    return any(part in one for one in client["subscriptions"])

        until(stands, what="the subscription")

    def wait(self, count, timeout=40):
        """The first `count` messages."""
        until(lambda: len(self.messages()) >= count, timeout, "{} messages".format(count))
        return self.messages()


class Azure(Place):
    service = "azure"
    wrong = {"key": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="}

    def _make(self):
        azure = self.world.ready["azure"]
        self.settings.update(
            scope=azure["scope_id"],
            key=azure["group_key"],
            ca=self.world.ready["ca_der"],
            server="localhost:%d" % self.line.port,
        )

    def messages(self):
        path = "/azure/devices/%s/messages/events?count=1000" % self.name
        found = self.world.control("GET", path) or ()  # None: not registered yet
        return [(one["properties"].get("$.sub", "telemetry"), _json(one["body"])) for one in found]

    def reported(self):
        twin = self.world.control("GET", "/azure/twins/" + self.name)
        if twin is None:
            return {}  # not registered yet
        return {
            name: value
            for name, value in twin["properties"]["reported"].items()
            if not name.startswith("$")
        }

    def command(self, name, args=None):
        body = {"methodName": name}
        if args is not None:
            body["payload"] = args
        answer = self.world.control("POST", "/azure/twins/%s/methods" % self.name, body)
        return answer["status"], answer.get("payload")

    def set(self, name, value):
        body = {"properties": {"desired": {name: value}}}
        self.world.control("PATCH", "/azure/twins/" + self.name, body)

    def accepted(self, name, value):
        said = until(lambda: self.reported().get(name), what="the acknowledgement")
        assert said["value"] == value
        return said["ac"] == 200


class Ibm(Place):
    service = "ibm"
    has = ("command", "report")
    wrong = {"token": "not-the-token"}
    told = "token"

    def _make(self):
        ibm = self.world.ready["ibm"]
        self.org = ibm["org"]
        device = ibm["device"]
        self.name = "%s:%s" % (device["type"], device["id"])
        self.settings.update(
            org=self.org,
            type=device["type"],
            id=device["id"],
            token=device["token"],
            ca=self.world.ready["ca_der"],
            host="localhost",
            port=self.line.port,
        )
        self.space = "iot-2/type/%s/id/%s/" % (device["type"], device["id"])
        app = ibm["application"]
        self.app = self.listen(
            self.space + "evt/+/fmt/+",
            client_id="a:%s:rig%d" % (self.org, id(self) % 100000),
            user=app["key"],
            password=app["token"],
        )

    def _events(self):
        return [(topic.split("/")[6], _json(body)) for topic, body in list(self.app.got)]

    def messages(self):
        return [
            (name, body["d"]) for name, body in self._events() if name not in ("state", "answer")
        ]

    def reported(self):
        found = {}
        for name, body in self._events():
            if name == "state":
                found.update(body["d"])
        return found

    def command(self, name, args=None):
        before = len(self._answers())
        self.wait_subscribed("d:%s:%s" % (self.org, self.name), "/cmd/")
        self.app.publish(self.space + "cmd/%s/fmt/json" % name, json.dumps(args))
        until(lambda: len(self._answers()) > before, what="the answer")
        answer = self._answers()[before]
        assert answer["command"] == name
        return answer["status"], answer["answer"]

    def _answers(self):
        return [body["d"] for name, body in self._events() if name == "answer"]


class Mqtt(Place):
    service = "mqtt"
    wrong = {"password": "not-the-password"}
    told = "refused"

    def _make(self):
        self.settings.update(
            host="localhost", port=self.line.port, ca=self.world.ready["ca_der"],
            user="rig", password="a-password",
        )  # fmt: skip
        self.root = "devices/%s/" % self.name
        self.listener = self.listen(
            self.root + "#", "homeassistant/#", user="rig", password="a-password"
        )

    def on(self, topic):
        return [body for name, body in list(self.listener.got) if name == topic]

    def messages(self):
        front = self.root + "event/"
        return [
            (topic[len(front) :], _json(body))
            for topic, body in list(self.listener.got)
            if topic.startswith(front)
        ]

    def reported(self):
        found = self.on(self.root + "state")
        return _json(found[-1]) if found else {}

    def command(self, name, args=None):
        topic = self.root + "answer/" + name
        before = len(self.on(topic))
        body = "" if args is None else json.dumps(args)
        self.wait_subscribed(self.name, "/command/")
        self.listener.publish(self.root + "command/" + name, body)
        until(lambda: len(self.on(topic)) > before, what="the answer")
        answer = _json(self.on(topic)[before])
        return answer["status"], answer["answer"]

    def set(self, name, value):
        self.listener.publish(self.root + "setting/" + name, json.dumps(value), retain=True)

    def accepted(self, name, value):
        def answer():
            refused = self.on(self.root + "answer/" + name)
            return refused or self.reported().get(name) == value

        return until(answer, what="the acknowledgement") is True


class TeamViewer(Place):
    service = "teamviewer"
    has = ("report",)
    told = "ca"
    lets_all_in = True

    def _make(self):
        agent = self.world.ready["teamviewer"]
        self.wrong = {"ca": self.world.ready["ca_der"]}
        self.line = self.world.agent_line
        self.before = {one["id"] for one in self.connectors()}
        self.settings.update(
            host="localhost",
            provision_port=agent["provision_port"],
            port=self.line.port,
            ca=agent["ca_file"],
            folder=str(self.folder / "certs"),
        )

    def connectors(self):
        return self.world.control("GET", "/teamviewer")["connectors"]

    def sensors(self):
        return [
            sensor
            for connector in self.connectors()
            if connector["id"] not in self.before
            for sensor in connector["sensors"]
        ]

    def values(self, sensor):
        """[fields] of one sensor, in order."""
        metrics = sensor["metrics"]
        if isinstance(metrics, dict):
            metrics = [dict(metric, metricId=key) for key, metric in metrics.items()]
        names = {metric["metricId"]: metric["name"] for metric in metrics}
        found = []
        for push in sensor["values"]:
            pushed = [part for part in push if isinstance(part, (list, dict))][0]
            if isinstance(pushed, dict):
                pairs = pushed.items()
            else:
                pairs = [
                    (one["metricId"], one["value"]) if isinstance(one, dict) else one
                    for one in pushed
                ]
            found.append({names[key]: value for key, value in pairs})
        return found

    def messages(self):
        return [
            (sensor["name"], fields)
            for sensor in self.sensors()
            if sensor["name"] != "state"
            for fields in self.values(sensor)
        ]

    def reported(self):
        found = {}
        for sensor in self.sensors():
            if sensor["name"] == "state":
                for fields in self.values(sensor):
                    found.update(fields)
        return found


def watcher_settings(world, service):
    """For cloud.Watcher: of all that happens at a service."""
    ready = world.ready
    app, digi = ready["ibm"]["application"], ready["digi"]
    settings = {
        "ibm": {
            "org": ready["ibm"]["org"], "id": "watcher", "key": app["key"], "token": app["token"],
            "port": ready["mqtt"]["tls_port"],
        },
        "mqtt": {
            "port": ready["mqtt"]["tls_port"], "id": "watcher", "user": "rig",
            "password": "a-password",
        },
        "digi": {
            "username": digi["username"], "password": digi["password"],
            "port": digi["https_port"], "push_port": digi["push_tls_port"],
        },
    }[service]  # fmt: skip
    return dict(settings, service=service, host="localhost", ca=ready["ca_der"])


PLACES = {one.service: one for one in (Azure, Ibm, Mqtt, TeamViewer)}
DEVICES = tuple(PLACES)


def _json(body):
    return json.loads(body) if isinstance(body, (str, bytes)) else body


def name_of(request):
    """A device's name out of a test's."""
    plain = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return plain[-30:].strip("-")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A World shared by the tests of one file."""
    state = tmp_path_factory.mktemp("cloud")
    process, ready = processes.start_cloud("--open-broker", "rig:a-password", state=state)
    made = World(ready, state)
    yield made
    made.stop()
    process.stop()
    print(process.tail(60))


@pytest.fixture(params=DEVICES)
def place(request, world, tmp_path):
    """A Place at each service in turn."""
    yield from at_place(world, request.param, tmp_path, request)


def at_place(world, service, folder, request):
    made = world.place(service, name_of(request), folder)
    made.line.lift()
    yield made
    made.line.lift()
    made.close()


def place_at(service):
    """The fixture `place` of a file whose tests are about one service."""

    @pytest.fixture
    def place(world, tmp_path, request):
        yield from at_place(world, service, tmp_path, request)

    return place
