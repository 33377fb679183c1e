"""Which tests are to notice a fault in which file of lib/: the quickest first."""

# Paths below host_tests/. What runs on CPython's port too is run on MicroPython only.
TESTS = {
    "mqtt_link": """link/test_mqtt_qos2.py link/test_mqtt_link_umqtt.py
        link/test_mqtt_link_properties.py link/test_mqtt_link_pains.py link/test_mqtt_link_safe.py
        link/test_mqtt_link.py link/test_mqtt_link_faults.py""",
    "mqtt_qos2": "link/test_mqtt_qos2.py link/test_mqtt_link_properties.py"
    " link/test_mqtt_link_safe.py link/test_mqtt_link.py",
    "link_reasons": "link/test_link_reasons.py link/test_mqtt_link_pains.py",
    "netstream": "link/test_netstream.py link/test_board_sockets.py link/test_resolver.py"
    " link/test_mqtt_link_tls.py",
    "websocket_stream": "link/test_websocket_stream.py",
    "rest": "link/test_rest.py",
    "resolver": "link/test_resolver.py",
    "json_text": "link/test_json_text.py",
    "json_surrogates": "link/test_json_surrogates.py link/test_json_text.py",
    "iotc": """azure/test_iotc_constants.py azure/test_iotc.py azure/test_iotc_reasons.py
        azure/test_iotc_twin.py azure/test_iotc_preview.py azure/test_iotc_pains.py
        azure/test_iotc_sweep.py azure/test_iotc_strain.py""",
    "iotc_wire": "azure/test_iotc_wire.py",
    "iotc_properties": "azure/test_iotc_properties.py",
    "iotc_dps": "azure/test_iotc_dps.py azure/test_iotc_reasons.py",
    "iotc_twin": "azure/test_iotc_twin.py",
    "ibmiotf": """ibm/test_ibmiotf_init.py ibm/test_ibmiotf_device.py
        ibm/test_ibmiotf_application.py""",
    "ibmiotf.device": "ibm/test_ibmiotf_device.py ibm/test_ibmiotf_budget.py",
    "ibmiotf.application": "ibm/test_ibmiotf_application.py",
    "ibmiotf.topics": "ibm/test_ibmiotf_topics.py",
    "ibmiotf.broker": "ibm/test_ibmiotf_broker.py",
    "teamviewer_iot": "teamviewer/test_teamviewer_iot.py teamviewer/test_teamviewer_sweep.py",
    "idigi_monitor_api": """digi/test_idigi_sweep.py digi/test_idigi_monitors.py
        digi/test_idigi_monitor_api.py""",
    "idigi_messages": "digi/test_idigi_messages.py",
    "cloud_device": """cloud/test_cloud_device_contract.py cloud/test_cloud_settings.py
        cloud/test_cloud_seldom.py""",
}


def tests(module):
    """The test files for a module, as paths below host_tests/. Raises KeyError."""
    return TESTS[module].split()


def file(module):
    """The module's file, as a path below lib/."""
    path = module.replace(".", "/")
    return path + ("/__init__.py" if module == "ibmiotf" else ".py")
