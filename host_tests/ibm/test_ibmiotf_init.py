"""ibmiotf/__init__.py: the errors, names in topics, the payload codecs, the options."""

import json

import sweep_rig
from hypothesis import given, settings
from hypothesis import strategies as st

OPTIONS = {
    "org": "abc123",
    "type": "pump",
    "id": "p1",
    "auth-method": "token",
    "auth-token": "s3cret",
    "ssl": False,
}

# Runs f(*case) for each case and reports what came back or the exception's name and text.
EACH = """
    import ibmiotf.device
    import ibmiotf.application

    def each(f, cases):
        for case in cases:
            try:
                report(got=f(*case))
            except Exception as e:
                report(error=type(e).__name__, text=str(e))

"""


# ---- errors


def test_the_documented_errors_are_reached_through_either_import(board):
    run = board.run(
        """
        import ibmiotf.device
        bad = []
        for name in ("ConfigurationException", "UnsupportedAuthenticationMethod"):
            if not issubclass(getattr(ibmiotf, name), ibmiotf.ConnectionException):
                bad.append(name)
        for name in ("InvalidEventException", "MissingMessageDecoderException",
                     "MissingMessageEncoderException"):
            if not issubclass(getattr(ibmiotf, name), ValueError):
                bad.append(name)
        report(bad=bad)
        """
    )
    assert run.report["bad"] == []


# ---- names


def test_a_name_that_cant_be_a_level_is_refused_and_the_error_says_what_can(board):
    good = ["p1", "A-Z_a.z", "x" * 36]
    bad = [
        "",
        "a/b",
        "a+",
        "+",
        "#",
        "a b",
        "\u00e9",
        "\u00b2",
        "x" * 37,
        "a\n",
        "a\x00",
        5,
        None,
        b"p",
    ]
    run = board.run(
        EACH + '    each(ibmiotf.level, [("deviceId", v, 36) for v in values])', values=good + bad
    )
    assert [r.get("got") for r in run.reports[:3]] == good
    for value, report in zip(bad, run.reports[3:]):
        assert report.get("error") == "ValueError", value
        assert report["text"].startswith("deviceId: must be 1 to 36 of abc"), value
    assert run.reports[4]["text"].endswith("not 'a/b'")


def test_an_event_name_may_hold_more_but_no_wildcard_and_no_slash(board):
    good = ["status", "a b", "\u00e9", "x" * 32]
    bad = ["", "a/b", "+", "a+b", "#", "x" * 33, {}]
    run = board.run(
        EACH + '    each(ibmiotf.level, [("event", v) for v in values])', values=good + bad
    )
    assert [r.get("got") for r in run.reports[:4]] == good
    assert [r.get("error") for r in run.reports[4:]] == ["ValueError"] * len(bad)


# ---- payloads


def test_iotf_json_is_told_from_other_json_exactly(board):
    """The table of the payload rules: class, data, ts."""
    cases = [
        (b'{"d":{}}', {}, None),
        (
            b'{"d":{"t":1},"ts":"2026-01-05T09:00:00+00:00"}',
            {"t": 1},
            "2026-01-05T09:00:00+00:00",
        ),
        (b' {"ts": "x" , "d" : {"a": [1, {"b": null}]} } ', {"a": [1, {"b": None}]}, "x"),
        # All others are custom: the whole is the data.
        (b'[{"d":{}}]', [{"d": {}}], None),
        (b'{"d":[1]}', {"d": [1]}, None),
        (b'{"d":{},"x":1}', {"d": {}, "x": 1}, None),
        (b'{"d":{},"ts":"x","x":1}', {"d": {}, "ts": "x", "x": 1}, None),
        (b'{"ts":"x"}', {"ts": "x"}, None),
        (b'{"d":{},"ts":5}', {"d": {}, "ts": 5}, None),
        (b'{"d":{},"ts":null}', {"d": {}, "ts": None}, None),
        (b'"text"', "text", None),
        (b"null", None, None),
        (b"12.5", 12.5, None),
        # Looks like a trailing comma, and is none.
        (b'{"d":{"a":",}","b":"x\\",]","c":"\\\\"}}', {"a": ",}", "b": 'x",]', "c": "\\"}, None),
    ]
    program = """
    class M:
        pass

    def decode(payload):
        m = M()
        m.payload = payload
        m = ibmiotf.decode_json(m)
        return [m.data, m.timestamp]

    each(decode, [(p,) for p in payloads])
    """
    run = board.run(EACH + program, payloads=[c[0] for c in cases])
    assert [r.get("got") for r in run.reports] == [[data, ts] for _, data, ts in cases]


def test_what_is_not_json_is_an_invalid_event(board):
    payloads = [
        b'{"d":{"a":1,}}',  # MicroPython's own parser takes these three
        b'{"d":{"a":[1,2 , ]}}',
        b'{"d":{"a":"\\\\",\n}}',
        b"",
        b"{",
        b'{"d":{}} x',
        b'{"d":{"a":NaN}}',
        b"\xff\xfe",
        b'{"a":"\xff"}',
        b"hello",
        b"[" * 2000,
    ]
    program = """
    class M:
        pass

    def decode(payload):
        m = M()
        m.payload = payload
        return ibmiotf.decode_json(m).data

    each(decode, [(p,) for p in payloads])
    """
    run = board.run(EACH + program, payloads=payloads)
    for payload, report in zip(payloads, run.reports):
        assert report.get("error") == "InvalidEventException", payload
        assert report["text"].startswith("not JSON: "), report
    assert len(run.reports) == len(payloads)


def test_data_goes_out_as_strict_json(board):
    data = {
        "s": 'quote " backslash \\ line\nend \u00e9\u20ac',
        "n": None,
        "t": True,
        "f": -1.5,
        "i": 10**12,
        "l": [1, [], {}, ["x"]],
    }
    run = board.run(
        EACH + "    each(ibmiotf.encode_iotf, [(data,), (None,), ({},)])\n"
        "    each(ibmiotf.encode_json, [([1, 'a'],), (None,), ((1, 2),)])",
        data=data,
    )
    got = [json.loads(r["got"]) for r in run.reports]
    assert got == [{"d": data}, {"d": {}}, {"d": {}}, [1, "a"], None, [1, 2]]


def test_what_json_cant_hold_is_refused_and_the_error_names_the_key(board):
    """MicroPython's json.dumps would write nan, {1, 2} or <object>."""
    run = board.run(
        EACH
        + """
    class Thing:
        pass
    cases = (
        {"temp": float("nan")}, {"temp": float("inf")}, {"temp": -float("inf")}, {"temp": {1, 2}},
        {"temp": b"x"}, {"temp": bytearray(1)}, {"temp": Thing()}, {"temp": 1j}, {"temp": each},
        {"x": [1, {"temp": [2, (3, b"x")]}]},
    )
    each(ibmiotf.encode_iotf, [(c,) for c in cases])
    each(ibmiotf.encode_iotf, [({b"temp": 1},), ({(1, 2): 1},)])
    each(ibmiotf.encode_iotf, [([1],), ("x",), (5,)])
    """
    )
    for report in run.reports:
        assert report.get("error") == "InvalidEventException", report
    for report in run.reports[:10]:
        assert report["text"].startswith("'temp': JSON can't hold "), report
    texts = [r["text"] for r in run.reports[10:]]
    assert "b'temp'" in texts[0] and "(1, 2)" in texts[1]
    for text in texts[2:]:
        assert text == "data: not a dict"


def test_data_that_holds_itself_ends_with_an_error(board):
    run = board.run(
        EACH
        + """
    loop = {}
    loop["loop"] = [loop]
    each(ibmiotf.encode_json, [(loop,)])
    """
    )
    assert run.report["error"] == "InvalidEventException"
    assert "more than 32 levels" in run.report["text"]


def test_any_json_value_survives_the_way_there_and_back(board):
    """Property: decode(encode(d)) == d, 300 values of one seed in one run of each interpreter."""
    leaf = (
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.integers(-1000, 1000).map(lambda n: n / 8)
        | st.text(st.characters(exclude_categories=("Cs",)))
    )
    value = st.recursive(
        leaf,
        lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4),
        max_leaves=12,
    )
    values = []

    @settings(max_examples=300, derandomize=True)
    @given(st.dictionaries(st.text(max_size=8), value, max_size=5))
    def collect(one):
        values.append(one)

    collect()
    run = board.run(
        """
        import ibmiotf

        class M:
            pass

        bad = []
        for i, value in enumerate(values):
            m = M()
            m.payload = ibmiotf.encode_iotf(value)
            back = ibmiotf.decode_json(m).data
            if back != value:
                bad.append(i)
        report(bad=bad, n=len(values))
        """,
        values=values,
    )
    assert run.report == {"bad": [], "n": len(values)}


# ---- options


def test_missing_and_wrong_options_are_named(board):
    def without(key, **more):
        return dict({k: v for k, v in OPTIONS.items() if k != key}, **more)

    cases = [
        (without("org"), "ConfigurationException", "Missing required property: org"),
        (without("type"), "ConfigurationException", "Missing required property: type"),
        (without("id"), "ConfigurationException", "Missing required property: id"),
        (without("auth-method"), "ConfigurationException", "property: auth-method"),
        (without("auth-token"), "ConfigurationException", "property: auth-token"),
        (dict(OPTIONS, **{"auth-token": None}), "ConfigurationException", "auth-token"),
        (
            dict(OPTIONS, **{"auth-method": "x509"}),
            "UnsupportedAuthenticationMethod",
            "must be token",
        ),
        (dict(OPTIONS, id="a/b"), "ConfigurationException", "id: must be 1 to 36 of"),
        (dict(OPTIONS, org="a+b"), "ConfigurationException", "org: must be 1 to 36 of"),
        (dict(OPTIONS, type="t" * 37), "ConfigurationException", "type: must be 1 to 36 of"),
        (dict(OPTIONS, ssl=None), "ConfigurationException", "'ca'"),
        (dict(OPTIONS, ssl=True), "ConfigurationException", "'ca'"),
        (dict(OPTIONS, ssl=True, ca="/no/such/file"), "ConfigurationException", "/no/such/file"),
        (dict(OPTIONS, ssl={}), "ConfigurationException", "'ca'"),
    ]
    run = board.run(
        EACH + "    each(ibmiotf.device.Client, [(o,) for o in options])",
        options=[c[0] for c in cases],
    )
    for (options, error, text), report in zip(cases, run.reports):
        assert report.get("error") == error, (options, report)
        assert text in report["text"], report
        assert "s3cret" not in report["text"]


def test_the_address_follows_from_org_domain_transport_and_port(board):
    base = dict(OPTIONS)
    del base["ssl"]
    plain = dict(OPTIONS)
    ibm = "abc123.messaging.internetofthings.ibmcloud.com"
    cases = [
        (plain, [ibm, 1883, False]),
        (dict(base, ca=b"CA"), [ibm, 8883, True]),
        (dict(base, port=1883), [ibm, 1883, False]),
        (dict(base, port=443, ca=b"CA"), [ibm, 443, True]),
        (
            dict(base, domain="iot.example.com", port=443, ca=b"CA"),
            ["abc123.messaging.iot.example.com", 443, True],
        ),
        (dict(base, transport="websockets", ca=b"CA"), [ibm, 443, True]),
        (dict(plain, transport="websockets"), [ibm, 80, False]),
        (dict(base, host="broker.lan", ssl={"ca": b"CA"}), ["broker.lan", 8883, True]),
        ({"org": "quickstart", "type": "t", "id": "i"}, ["quickstart" + ibm[6:], 1883, False]),
    ]
    run = board.run(
        """
        import ibmiotf.device
        # The addresses only: a stand-in for the certificate's reader.
        import mqtt_link
        def context(ssl, params=None):
            global tls
            tls = bool(ssl)
        mqtt_link.tls_context = context
        for o in options:
            link = ibmiotf.device.Client(o).link
            report(got=[link.server, link.port, tls])
        """,
        options=[c[0] for c in cases],
    )
    assert [r["got"] for r in run.reports] == [c[1] for c in cases]


def test_defaults_stand_below_the_options_of_every_client(board):
    run = board.run(
        """
        import ibmiotf.device
        ibmiotf.defaults["host"] = "broker.lan"
        ibmiotf.defaults["port"] = 18830
        a = ibmiotf.device.Client(options).link
        options["port"] = 1884
        b = ibmiotf.device.Client(options).link
        report(got=[a.server, a.port, b.server, b.port], left=sorted(options))
        """,
        options=dict(OPTIONS),
    )
    assert run.report["got"] == ["broker.lan", 18830, "broker.lan", 1884]
    assert run.report["left"] == sorted(
        list(OPTIONS) + ["port"]
    )  # the program's own dict is left as it was


def test_a_topic_that_is_kept_is_that_of_this_message(board):
    """Events one after the other that differ in one thing only: device, kind, name or format."""
    report = board.run(
        """
        import ibm_stream, ibmiotf.application
        service = ibm_stream.Service()
        service.take_over()
        client = ibmiotf.application.Client(options)
        ibmiotf.codecs["other"] = ibmiotf.codecs["json"]
        while not client.isConnected():
            client.do_next()
        for device, name, fmt in (
            ("p1", "a", "json"), ("p1", "a", "other"), ("p1", "b", "other"), ("p2", "b", "other"),
            ("p2", "b", "other"), ("p1", "a", "json"),
        ):
            client.publishEvent("pump", device, name, fmt, 1)
        client.publishCommand("pump", "p1", "a", "json", 1)
        for _ in range(20):
            client.do_next()
        report(topics=[one[0] for one in service.received])
        """,
        before_lib=sweep_rig.DOUBLES,
        options={
            "org": "abc123", "id": "app", "auth-method": "apikey", "auth-key": "a-abc123-x",
            "auth-token": "t", "host": "h", "ssl": False,
        },
    ).report  # fmt: skip
    space = "iot-2/type/pump/id/"
    assert report["topics"] == [
        space + end
        for end in (
            "p1/evt/a/fmt/json",
            "p1/evt/a/fmt/other",
            "p1/evt/b/fmt/other",
            "p2/evt/b/fmt/other",
            "p2/evt/b/fmt/other",
            "p1/evt/a/fmt/json",
            "p1/cmd/a/fmt/json",
        )
    ]


def test_the_payload_of_an_event_is_text_where_it_can_be(board):
    report = board.run(
        """
        import ibmiotf
        ibmiotf.codecs["raw"] = (None, lambda message: ibmiotf.Message(1))
        report(kinds=[
            type(ibmiotf.Event("e", "raw", payload).payload).__name__
            for payload in (b"text", bytes((0xff, 0xfe)))
        ])
        """
    ).report
    assert report == {"kinds": ["str", "bytes"]}
