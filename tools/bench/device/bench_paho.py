# paho-mqtt on CPython: the yardstick from the other side of the fence.

import ssl
import threading

import paho.mqtt.client as mqtt
from bench_base import BIG, MSG, TOPIC, Base, sleep_ms, ticks_add, ticks_diff, ticks_ms


class _Named(ssl.SSLContext):
    # Verifies the name it is given, where paho can only name the address it dials.
    def wrap_socket(self, sock, **options):
        options["server_hostname"] = self.name
        return super().wrap_socket(sock, **options)


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        c = self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=self.id)
        if job["tls"]:
            context = _Named(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(job["tls"]["ca_pem"])
            context.name = job["tls"]["name"]
            c.tls_set_context(context)
        c.max_inflight_messages_set(max(20, job.get("depth", 1)))
        c.on_publish = self.on_publish
        c.on_message = self.on_message
        c.on_subscribe = self.on_subscribe
        c.on_connect = self.on_connect
        self.acked = 0
        self.subscribed = 0
        self.filters = ()
        self.sends = 0
        inner = c._sock_send

        def counted(data):
            self.sends += 1
            return inner(data)

        c._sock_send = counted

    def on_message(self, *ignored):
        self.got += 1

    def receive_some(self):
        self.c.loop(1)

    def on_publish(self, *ignored):
        self.acked += 1

    def on_subscribe(self, *ignored):
        self.subscribed += 1

    def on_connect(self, *ignored):
        # After a reconnect a program of paho's has to do this.
        if self.filters:
            self.c.subscribe(self.filters)

    def connect(self):
        self.c.connect(self.job["host"], self.job["port"], self.job["keepalive"])
        while not self.c.is_connected():
            self.c.loop(1)

    def subscribe(self, filters):
        self.c.subscribe([(f.decode(), 1) for f in filters])
        while not self.subscribed:
            self.c.loop(1)

    def publish(self, qos):
        info = self.c.publish(TOPIC.decode(), MSG, qos)
        while not info.is_published():
            self.c.loop(1)

    def flood(self, qos, depth, ms):
        c = self.c
        topic = TOPIC.decode()
        end = ticks_add(ticks_ms(), ms)
        n = 0
        start = self.acked
        while ticks_diff(end, ticks_ms()) > 0:
            if not qos or n - (self.acked - start) < depth:
                c.publish(topic, MSG, qos)
                n += 1
            else:
                c.loop(1)
        while self.acked - start < n:
            c.loop(1)
        if not qos:
            self.publish(1)
        return n

    def writes(self):
        return self.sends

    def close(self):
        self.c.disconnect()

    # For the stalls it runs as most programs run it: a thread of its own does the work.

    def open_timed(self, filters):
        self.filters = [(f.decode(), 1) for f in filters]
        self.timed(self.c.connect, self.job["host"], self.job["port"], self.job["keepalive"])
        self.c.loop_start()
        while self.time_left() and not self.subscribed:
            sleep_ms(5)

    def step(self):
        pass

    def publish_big(self):
        self.c.publish(TOPIC.decode(), BIG)

    def is_up(self):
        return self.c.is_connected()


threading.excepthook = lambda args: None  # what its thread dies of is seen by is_up()
