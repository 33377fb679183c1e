"""ibmiotf/address.py: the client id, and where a client connects."""

from ibm_options_rig import DEVICE, made, without
from ibm_rig import rig as make_rig


def test_pain_66_type_and_id_are_as_long_as_the_service_has_them(board):
    closed = without(DEVICE, "host")
    maximo = dict(closed, domain="iot.example.com")
    named = dict(closed, domain="internetofthings.ibmcloud.com")
    cases = [(dict(base, id="i" * n), n) for base in (closed, named) for n in (32, 33)]
    cases += [(dict(base, type="t" * n), n) for base in (DEVICE, maximo) for n in (36, 37)]
    reports = made(board, *[("device", options) for options, _ in cases])
    assert ["error" in report for report in reports] == [False, True] * 4
    assert reports[1]["text"] == reports[3]["text"]
    assert reports[1]["text"].startswith("id: at most 32 characters on IBM's platform; 36 with ")
    assert reports[5]["text"].startswith("type: must be 1 to 36 of ")


def test_with_a_domain_of_ones_own_the_port_is_443(board):
    base = dict(without(DEVICE, "host", "ssl"), domain="iot.example.com", ca=b"CA")
    address = "abc123.messaging.iot.example.com"
    cases = [
        (base, address, 443),
        (dict(base, port="8883"), address, 8883),
        (dict(base, transport="websockets"), address, 443),
        (dict(base, ssl=False), address, 1883),
        (dict(base, host="broker.lan"), "broker.lan", 8883),
        (without(base, "domain"), "abc123.messaging.internetofthings.ibmcloud.com", 8883),
        (
            dict(base, domain="internetofthings.ibmcloud.com"),
            "abc123.messaging.internetofthings.ibmcloud.com",
            8883,
        ),
    ]
    reports = made(board, *[("device", options) for options, _, _ in cases], plain=True)
    for (options, server, port), report in zip(cases, reports):
        assert (report.get("server"), report.get("port")) == (server, port), (options, report)


def test_pain_72_a_host_may_be_several(board):
    with make_rig() as rig:
        options = dict(DEVICE, host=["127.0.0.1:1", "127.0.0.1:%d" % rig.port])
        run = board.run(
            """
            import time
            import ibmiotf.device
            client = ibmiotf.device.Client(options)
            client.link.backoff_ms = 20
            errors = []
            client.errorCallback = errors.append
            end = time.ticks_add(time.ticks_ms(), 20000)
            while not client.isConnected() and time.ticks_diff(end, time.ticks_ms()) > 0:
                client.do_next(20)
            report(up=client.isConnected(), errors=errors)
            """,
            options=options,
        )
        assert run.report["up"] and len(rig.witness.connects) == 1
        for error in run.report["errors"]:
            assert "127.0.0.1:1 or 127.0.0.1:%d: " % rig.port in error
