# chumicro-mqtt: calls queue, handle() is one bounded tick. Its own Runner waits by polling; here a
# poll for what io_interest() names does.

import select

from bench_base import BIG, MSG, TOPIC, Base, sleep_ms, ticks_add, ticks_diff, ticks_ms
from chumicro_mqtt import MQTTClient
from chumicro_sockets.sockets_factory import fixed_connector_factory

_IN = 1
_OUT = 4


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        tls = job["tls"]
        context = None
        if tls:
            import chumicro_sockets

            with open(tls["ca_pem"], "rb") as f:
                context = chumicro_sockets.ssl_context_with_ca(f.read())
        self.c = MQTTClient(
            transport_factory=fixed_connector_factory(
                job["host"], job["port"], ssl_context=context
            ),
            client_id=self.id,
            keep_alive_seconds=job["keepalive"],
            rx_buffer_size=2048,
            recv_budget_per_tick=2048,
            max_tx_queue_size=max(20, job.get("depth", 1), job.get("filters", 0)),
        )
        self.c.on_message = self.on_message
        self.c.on_publish = self.on_ack
        self.c.on_subscribe = self.on_ack
        self.acked = 0
        self.poll = select.poll()
        self.polled = None

    def on_message(self, topic, msg):
        self.got += 1

    def on_ack(self, *ignored):
        self.acked += 1

    def step(self):
        self.c.handle(ticks_ms())

    def wait(self):
        sock = self.c.io_socket
        if sock is None:
            return
        if sock is not self.polled:
            self.polled = sock
            self.raw = getattr(sock, "sock", sock)
            self.poll.register(self.raw, _IN)
        want = self.c.io_interest(ticks_ms())
        self.poll.modify(self.raw, (_IN if want & 1 else 0) | (_OUT if want & 2 else 0))
        for _ in self.poll.ipoll(1000):
            pass

    def turn(self):
        self.wait()
        self.step()

    def connect(self):
        self.c.connect()
        while self.c.state != "connected":
            if self.c.state == "failed":
                raise self.c.last_error
            self.step()
            sleep_ms(1)

    def subscribe(self, filters):
        acked = self.acked
        for f in filters:
            self.c.subscribe(f.decode(), 1)
        self.step()
        while self.acked - acked < len(filters):
            self.turn()

    def publish(self, qos):
        acked = self.acked
        self.c.publish(TOPIC_TEXT, MSG, qos=qos)
        self.step()
        while self.acked == acked:
            self.turn()

    def publish_once(self):
        # Its publish() only queues: the tick that sends belongs to it.
        self.c.publish(TOPIC_TEXT, MSG)
        self.c.handle(ticks_ms())

    def acknowledged(self, depth, n):
        publish = self.c.publish
        first, sent = self.acked, 0
        while self.acked - first < n:
            while sent < n + depth - 1 and sent - (self.acked - first) < depth:
                publish(TOPIC_TEXT, MSG, qos=1)
                sent += 1
            self.turn()

    def receive_some(self):
        self.turn()

    def flood(self, qos, depth, ms):
        publish = self.c.publish
        end = ticks_add(ticks_ms(), ms)
        first, n = self.acked, 0
        limit = depth if qos else 10
        while ticks_diff(end, ticks_ms()) > 0:
            while n - (self.acked - first) < limit:
                publish(TOPIC_TEXT, MSG, qos=qos)
                n += 1
            self.turn()
        while self.acked - first < n:
            self.turn()
        if not qos:
            self.publish(1)
        return n

    def publish_big(self):
        try:
            self.c.publish(TOPIC_TEXT, BIG)
        except Exception:
            pass  # its queue is full

    def is_up(self):
        return self.c.state == "connected"

    def error(self):
        return self.c.last_error and repr(self.c.last_error)

    def close(self):
        self.c.disconnect()


TOPIC_TEXT = TOPIC.decode()
