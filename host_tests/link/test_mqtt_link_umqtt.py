"""
The link on each generation of umqtt.simple: 1.3.4, which PyPI has; 1.4 to 1.7, whose constructor
takes no ssl_params; 1.8, which `mip` installs today and which is a stand-in here.
"""

import textwrap

import pytest
from board_rig import DOUBLES
from link_rig import Observer
from localcloud import pki
from localcloud.faults import Connack, FaultProxy


@pytest.fixture(params=["1.3.4", "1.4.0", "1.8.0"])
def umqtt(request, tmp_path):
    """Directories to be put in front of the device's path: none for what is there anyway."""
    if request.param == "1.3.4":
        return ()
    newest = DOUBLES[0] / "umqtt_1_8"
    if request.param == "1.8.0":
        return (newest,)
    text = (newest / "umqtt" / "simple.py").read_text()
    for line in ("        ssl_params={},  # noqa: B006 (as it is there)\n",
                 "        self.ssl_params = ssl_params\n"):  # fmt: skip
        assert line in text
        text = text.replace(line, "")
    (tmp_path / "umqtt").mkdir()
    (tmp_path / "umqtt" / "simple.py").write_text(text)
    return (tmp_path,)


LINK = """
from umqtt.simple import MQTTClient, MQTTException
from mqtt_link import MQTTLink

def run(condition):
    for _ in range(800):
        if condition():
            return
        link.do_next(10)
    raise Exception("waited in vain; last error: %r" % link.error)
"""


def on(board, umqtt, peer, source, **values):
    source = LINK + textwrap.dedent(source)
    return board.run(source, before_lib=umqtt, host=peer.host, port=peer.port, **values).report


def test_messages_go_both_ways_at_every_qos(board, broker, umqtt):
    report = on(
        board,
        umqtt,
        broker,
        """
        got = []
        link = MQTTLink("umqtt", host, port, "user", "password", 30)
        link.set_callback(lambda topic, msg: got.append((topic, len(msg))))
        link.subscribe("umqtt/#", 2)
        link.connect()
        run(lambda: not link._waiting)
        for qos in (0, 1, 2):
            link.publish("umqtt/%d" % qos, bytes(1500), qos=qos)
        run(lambda: len(got) == 3 and not link.inflight)
        link.unsubscribe("umqtt/#")
        run(lambda: not link._waiting)
        link.disconnect()
        report(got=got, kin=isinstance(link, MQTTClient), keepalive=link.keepalive)
        """,
    )
    assert sorted(report["got"]) == [["umqtt/%d" % qos, 1500] for qos in (0, 1, 2)]
    assert report["kin"] and report["keepalive"] == 30


def test_a_program_written_for_umqtt_simple(board, broker, umqtt):
    """Its calls, its positions of arguments, its loop."""
    observer = Observer(broker.host, broker.port, "umqtt-will")
    report = on(
        board,
        umqtt,
        broker,
        """
        got = []
        link = client = MQTTLink("umqtt", host, port, None, None, 60)
        client.set_callback(lambda topic, msg: got.append((topic, msg)))
        client.set_last_will(b"umqtt-will", b"gone", False, 1)
        client.connect(True)
        client.subscribe(b"umqtt/loop", 1)
        client.publish(b"umqtt/loop", b"1", False, 1)
        while not got:
            client.wait_msg()
        client.publish(b"umqtt/loop", b"2")
        while len(got) < 2:
            client.check_msg()
        client.ping()
        # No goodbye: the will comes.
        client._stream.sock.close()
        report(got=got)
        """,
    )
    assert report == {"got": [["umqtt/loop", "1"], ["umqtt/loop", "2"]]}
    assert observer.wait("umqtt-will", 1) == [b"gone"]
    observer.stop()


def test_a_refusal_is_umqtt_simple_s_own_exception(board, broker, umqtt):
    with FaultProxy(broker.host, broker.port) as proxy:
        proxy.apply(Connack, 5)
        report = on(
            board,
            umqtt,
            proxy,
            """
            link = MQTTLink("umqtt", host, port)
            try:
                link.connect()
            except MQTTException as e:
                report(code=e.args[0])
            """,
        )
    assert report == {"code": 5}


def test_pain_06_every_form_of_ssl_that_there_ever_was(board, broker, umqtt):
    authority = pki.Authority()
    context = authority.issue_server(["127.0.0.1"]).server_context()
    with FaultProxy(broker.host, broker.port, tls=context) as server:
        report = on(
            board,
            umqtt,
            server,
            """
            import tls
            context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(ca)
            said = []
            for options in (
                {"ssl": {"ca": ca}},
                {"ssl": context},
                {"ssl": True, "ssl_params": {"cadata": ca}},
                {"ssl": True, "ssl_params": {"cadata": ca, "server_hostname": "127.0.0.1"}},
            ):
                link = MQTTLink("umqtt", host, port, **options)
                try:
                    link.connect()
                    link.disconnect()
                    said.append("up")
                except Exception as e:
                    said.append(repr(e))
            try:
                MQTTLink("umqtt", host, port, ssl=True, ssl_params={"server_hostname": "x"})
            except ValueError as e:
                said.append("refused")
            report(said=said)
            """,
            ca=authority.der,
        )
    assert report["said"] == ["up"] * 4 + ["refused"]


def test_nothing_that_blocks_is_left_and_nothing_private_is_hidden(board, broker, umqtt):
    report = on(
        board,
        umqtt,
        broker,
        """
        def changed(name):
            return getattr(MQTTLink, name) is not getattr(MQTTClient, name)

        names = [name for name in dir(MQTTClient) if not name.startswith("__")]
        report(left=[name for name in names if name[0] != "_" and not changed(name)],
               hidden=[name for name in names if name[0] == "_" and changed(name)],
               which="_send_subunsub" in names, count=len(names))
        """,
    )
    assert report["left"] == [] and report["hidden"] == [] and report["count"] >= 10
    assert report["which"] == bool(umqtt), "it is not the generation asked for"
