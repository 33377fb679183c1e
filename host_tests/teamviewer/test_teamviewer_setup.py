"""
Parameters in all their forms, and what a running client has loaded.
"""

import json

import pytest
from teamviewer_rig import run


CONFIG = """
# the agent on the gateway
MqttHost             localhost
MqttProvisionPort    18883   # plain
MqttPort \t 18884

MqttKeepAlive        None
CaFile               /var/lib/agent/ca.crt
CertFolder           /home/pi/my certs
ClientName           the pump
OverrideCerts        SMART
"""


def test_parameters_as_dict_json_text_or_file_say_the_same(board, tmp_path):
    path = tmp_path / "config"
    path.write_text(CONFIG)
    run = board.run(
        """
import json
from teamviewer_iot import TVCMI_client
given = {"MqttHost": "localhost", "MqttProvisionPort": "18883", "MqttPort": 18884,
         "MqttKeepAlive": "None", "CaFile": "/var/lib/agent/ca.crt",
         "CertFolder": "/home/pi/my certs", "ClientName": "the pump", "OverrideCerts": 3}
for parameters in (given, json.dumps(given), path):
    c = TVCMI_client(parameters)
    report(**c.parameters)
    report(key=c.get_key_path(), cert=c.get_cert_path(), ca=c.get_ca_path(),
           key_der=c.get_key_der_path(), cert_der=c.get_cert_der_path(),
           ca_der=c.get_ca_der_path())
report(untouched=given["MqttProvisionPort"])
""",
        path=path,
    )
    assert run.reports[0] == run.reports[2] == run.reports[4]
    assert run.reports[0] == {
        "MqttHost": "localhost",
        "MqttProvisionPort": 18883,
        "MqttPort": 18884,
        "MqttKeepAlive": "None",
        "CaFile": "/var/lib/agent/ca.crt",
        "CertFolder": "/home/pi/my certs",
        "ClientName": "the pump",
        "OverrideCerts": "SMART",
        "MaxPacket": 4096,
        "ProvisionTimeout": 30,
    }
    assert run.reports[1] == run.reports[3] == run.reports[5]
    assert run.reports[1] == {
        "key": "/home/pi/my certs/thepump-key.pem",
        "cert": "/home/pi/my certs/thepump-cert.pem",
        "ca": "/var/lib/agent/ca.crt",
        "key_der": "/home/pi/my certs/thepump-key.der",
        "cert_der": "/home/pi/my certs/thepump-cert.der",
        "ca_der": "/home/pi/my certs/ca.der",
    }
    assert run.reports[6] == {"untouched": "18883"}


def test_bad_parameters_are_errors_that_name_them(board, tmp_path):
    good = {
        "MqttHost": "localhost",
        "MqttProvisionPort": 18883,
        "MqttPort": 18884,
        "CaFile": "ca",
        "CertFolder": "certs",
    }
    cases = [({key: good[key] for key in good if key != gone}, gone) for gone in good]
    cases += [
        (dict(good, MqttPort="soon"), "MqttPort"),
        (dict(good, MqttProvisionPort=[1]), "MqttProvisionPort"),
        (dict(good, MaxPacket=None), "MaxPacket"),
        (dict(good, MqttPort=float("inf")), "MqttPort must be a number, 1 to 65535"),
        (dict(good, MqttPort=-1), "MqttPort must be a number, 1 to 65535"),
        (dict(good, MqttProvisionPort="65536"), "MqttProvisionPort"),
        (dict(good, MaxPacket=0), "MaxPacket must be a number, 128"),
        (dict(good, MaxPacket=-5), "MaxPacket"),
        (dict(good, ProvisionTimeout=0), "ProvisionTimeout must be a number, 1 to"),
        (dict(good, ServerName=7), "ServerName"),
        (dict(good, CertFolder=7), "CertFolder"),
        (dict(good, ClientName=None), "ClientName"),
        (dict(good, ClientName="a/b"), "ClientName"),
        (dict(good, ClientName=" "), "ClientName"),
        (dict(good, ClientName="x" * 65), "ClientName"),
        (dict(good, ClientName="x " * 33), "ClientName"),
        (dict(good, OverrideCerts="MAYBE"), "OverrideCerts"),
        (dict(good, OverrideCerts=4), "OverrideCerts"),
        ('{"MqttHost": ', "parameters"),
        (str(tmp_path / "missing"), "missing"),
        (5, "parameters"),
        (None, "parameters"),
        ("[1, 2]", "parameters"),
    ]
    kinds = ["InputError"] * 5 + ["ConnectionParamError"] * 9 + ["InputError"] * 9
    kinds += ["ConfigError"] * 5
    run = board.run(
        """
from teamviewer_iot import TVCMI_client, TvcmiError
inf = float("inf")
for parameters, word in eval(cases):
    try:
        TVCMI_client(parameters)
        report(kind="none")
    except TvcmiError as e:
        report(kind=type(e).__name__, named=word in str(e) or word == "missing",
               same=e.message == str(e))
""",
        cases=repr(cases),
    )
    assert [r.get("kind") for r in run.reports] == kinds
    assert all(r["named"] and r["same"] for r in run.reports), run.reports


def test_modes_by_number_name_and_enumeration(board):
    run = board.run(
        """
from teamviewer_iot import TVCMI_client, CertOverrideMode

class Member:  # as the SDK's Enum on a computer
    value = 3

given = {"MqttHost": "h", "MqttProvisionPort": 1, "MqttPort": 2, "CaFile": "c", "CertFolder": "f"}
report(default=TVCMI_client(given).parameters["OverrideCerts"])
for mode in (1, "2", "SMART", "CertOverrideMode.OVERRIDE", CertOverrideMode.SMART, Member()):
    report(mode=TVCMI_client(dict(given, OverrideCerts=mode)).parameters["OverrideCerts"])
"""
    )
    assert run.reports[0] == {"default": "NOT_OVERRIDE"}
    assert [r["mode"] for r in run.reports[1:]] == [
        "OVERRIDE",
        "NOT_OVERRIDE",
        "SMART",
        "OVERRIDE",
        "SMART",
        "SMART",
    ]


def test_error_codes_have_the_documents_names(board):
    (got,) = board.run(
        """
from teamviewer_iot import error_name
report(names=[error_name(i) for i in range(24)])
"""
    ).reports
    assert got["names"] == [
        "UnknownError",
        "NoBackendConnection",
        "NoLicence",
        "InternalError",
        "InvalidJson",
        "JsonIsNotAObject",
        "MissingParameter",
        "ParameterIsNotAString",
        "ParameterIsNotANumber",
        "ParameterisNotABool",
        "ParameterIsNotAnArray",
        "ParameterIsNotAnInteger",
        "UnknownValueUnit",
        "UnknownMetricType",
        "ValueUnitOrValueTypeHasToBeProvided",
        "UnknownSensorId",
        "UnknownMetricId",
        "NoMetricsUpdated",
        "ForbiddendAccess",
        "OutOfRange",
        "CallbackArgumentsMismatch",
        "TLSError",
        "NoAnswer",
        "UnknownError",
    ]


def test_what_is_loaded_on_demand_is_let_go(board, agent, folder):
    loaded = run(
        board,
        """
c = connected()
report(loaded=[name for name in sys.modules if name.startswith(("teamviewer_", "p256"))])
""",
        agent,
        folder,
    ).report["loaded"]
    assert sorted(loaded) == ["teamviewer_errors", "teamviewer_iot"]


BOM = "\ufeff"


GIVEN = {
    "MqttHost": "localhost",
    "MqttProvisionPort": "18883",
    "MqttPort": 18884,
    "CaFile": "ca.crt",
    "CertFolder": "certs",
}


@pytest.mark.parametrize(
    "text",
    [
        BOM + CONFIG,
        BOM + CONFIG.replace("\n", "\r\n"),
        CONFIG.strip(),
        json.dumps(dict(GIVEN, ClientName="the pump")),
        BOM + json.dumps(dict(GIVEN, ClientName="the pump"), indent=4),
    ],
    ids=["BOM", "BOM and CR LF", "plain", "JSON in a file", "BOM and JSON in a file"],
)
def test_pain_39_a_byte_order_mark_in_a_settings_file(board, tmp_path, text):
    file = tmp_path / "settings"
    file.write_bytes(text.encode())
    got = board.run(
        """
from teamviewer_iot import TVCMI_client
c = TVCMI_client(file)
report(host=c.parameters["MqttHost"], port=c.parameters["MqttPort"], name=c.get_key_path()[-14:])
""",
        file=file,
    ).report
    assert got == {"host": "localhost", "port": 18884, "name": "thepump-key.pem"[-14:]}


def test_pain_39_a_byte_order_mark_before_json_text(board):
    got = board.run(
        """
from teamviewer_iot import TVCMI_client
report(ports=[TVCMI_client(text).parameters["MqttPort"] for text in texts])
""",
        texts=[BOM + json.dumps(GIVEN), "  " + json.dumps(GIVEN, indent=1)],
    ).report
    assert got == {"ports": [18884, 18884]}


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("MqttHots", "MqttHost"),
        ("mqtthost", "MqttHost"),
        ("MqtHost", "MqttHost"),
        ("MqttProvisonPort", "MqttProvisionPort"),
        ("CAFile", "CaFile"),
        ("CertFolders", "CertFolder"),
        ("ClientNmae", "ClientName"),
        ("OverideCerts", "OverrideCerts"),
    ],
)
def test_pain_45_a_misspelt_parameter_is_told_with_the_right_name(board, wrong, right):
    given = dict(GIVEN, **{wrong: "localhost"})
    given.pop(right, None)
    got = board.run(
        """
from teamviewer_iot import InputError, TVCMI_client
try:
    TVCMI_client(given)
except InputError as e:
    report(text=str(e), code=e.error_code)
""",
        given=given,
    ).report
    assert wrong in got["text"] and right in got["text"]
    assert got["code"] == 6


def test_pain_45_other_unknown_parameters_pass(board):
    """Programs may keep things of their own there."""
    got = board.run(
        """
from teamviewer_iot import TVCMI_client
report(site=TVCMI_client(given).parameters["Site"])
""",
        given=dict(GIVEN, Site="north", Building="x"),
    ).report
    assert got == {"site": "north"}
