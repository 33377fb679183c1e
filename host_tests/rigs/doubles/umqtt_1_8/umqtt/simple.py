# A stand-in for the umqtt.simple that `mip` installs today (1.8.0): its names, arguments and
# attributes, so that what stands on it is seen to get by with them. It talks to nobody: each of
# its own methods waits without bound in the real one, and must never be reached from here.


class MQTTException(Exception):
    pass


class MQTTClient:
    def __init__(
        self,
        client_id,
        server,
        port=0,
        user=None,
        password=None,
        keepalive=0,
        ssl=None,
        ssl_params={},  # noqa: B006 (as it is there)
    ):
        self.client_id, self.server = client_id, server
        self.port = port or (8883 if ssl else 1883)
        self.user, self.pswd, self.keepalive = user, password, keepalive
        self.ssl = ssl
        self.ssl_params = ssl_params
        self.sock = self.cb = self.lw_topic = self.lw_msg = None
        self.pid = self.lw_qos = 0
        self.lw_retain = False

    def set_callback(self, f):
        self.cb = f

    def set_last_will(self, topic, msg, retain=False, qos=0):
        assert topic and qos in (0, 1, 2)
        self.lw_topic, self.lw_msg = topic, msg
        self.lw_retain, self.lw_qos = retain, qos

    def connect(self, clean_session=True, timeout=None):
        _reached("connect")

    def disconnect(self):
        _reached("disconnect")

    def ping(self):
        _reached("ping")

    def publish(self, topic, msg, retain=False, qos=0):
        _reached("publish")

    def subscribe(self, topic, qos=0):
        _reached("subscribe")

    def unsubscribe(self, topic):
        _reached("unsubscribe")

    def wait_msg(self):
        _reached("wait_msg")

    def check_msg(self):
        _reached("check_msg")

    def _send_str(self, s):
        _reached("_send_str")

    def _recv_len(self):
        _reached("_recv_len")

    def _send_subunsub(self, *_):
        _reached("_send_subunsub")


def _reached(name):
    raise AssertionError(name + "() of umqtt.simple was reached: it would block")
