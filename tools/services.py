"""
The one table of what lib/ holds: which file belongs to which service, and what else that service
has in this house.

A new file of lib/ is one line here: its module's name in SHARED (below everything that it uses) or
among a service's `resident` or `seldom` modules. Then `python3 tools/services.py` writes the lists
that mip and manifest.py read. Package files, the build, its budgets and the rules that
host_tests/ keeps (who may import whom) follow from this table.

Only Python's standard library is needed here.
"""

import sys
from typing import NamedTuple, Tuple


class Shared(NamedTuple):
    """A file of lib/ that several services stand on."""

    module: str
    seldom: bool = False  # True: loaded when it is asked for, not with what stands on it
    offered: bool = False  # True: a program imports it itself; every client's build brings it
    inner: bool = False  # True: no program uses it, so it has no stub file for editors
    # True: no program and no file that is loaded by its name imports it: where the build joins it
    # into another file, nothing is left of its name.
    joins: bool = False


# What the services share, from the ground up: a file may import those above it in this list, and
# no other file of lib/. A service's own files may import all of them.
SHARED = (
    Shared("option_names", seldom=True, inner=True),
    Shared("tls_setup", seldom=True, inner=True),
    Shared("hosts", seldom=True, inner=True),
    Shared("reasons", seldom=True, inner=True),
    Shared("netstream"),
    Shared("utf8", inner=True, joins=True),
    Shared("resolver", seldom=True, offered=True),
    Shared("websocket_stream", seldom=True),
    Shared("p256", seldom=True),
    Shared("json_surrogates", seldom=True, inner=True),
    Shared("json_text", inner=True, joins=True),
    Shared("mqtt_qos2", seldom=True, inner=True),
    Shared("no_threads", seldom=True, inner=True),
    Shared("link_reasons", seldom=True, inner=True),
    Shared("mqtt_link"),
    Shared("link_asyncio", seldom=True, offered=True),
    Shared("rest", seldom=True),
    Shared("cloud_settings", seldom=True, inner=True),
    Shared("cloud_check", seldom=True, inner=True),
    Shared("cloud_seldom", seldom=True, inner=True),
    Shared("cloud_device", joins=True),  # programs get it from cloud.Device()
    Shared("cloud_time", inner=True),
    Shared("cloud_watcher"),
    Shared("cloud_entries", seldom=True, inner=True),
    Shared("cloud"),
)


class Service(NamedTuple):
    """One service: the row of everything that belongs to it."""

    name: str  # "azure": on the command line of tools/build.py, and manifest.py's option
    title: str  # as README names it
    imports: Tuple[str, ...]  # what a program imports; the first one gives the build its name
    resident: Tuple[str, ...] = ()  # its own modules that stay loaded in a running client
    seldom: Tuple[str, ...] = ()  # its own modules that are loaded when they are asked for
    # Those that no program uses: they have no stub file, and the build may change their names.
    inner: Tuple[str, ...] = ()
    stays: Tuple[str, ...] = ()  # shared modules that stay, though importing it doesn't load them
    knows: Tuple[str, ...] = ()  # other services whose modules its own may import
    package: str = ""  # the file that mip installs from
    page: str = ""  # its page in docs/
    cloud: str = ""  # its key in the local cloud's ready line
    optional: bool = True  # manifest.py can leave it out
    rows: Tuple[str, ...] = ()  # what README's table of costs has a row for

    @property
    def options(self):
        """manifest.py's options that must all be on for this service to be frozen."""
        found = [self.name] if self.optional else []
        if self.name.startswith("cloud_"):
            found.append("cloud")
        for name in self.knows:
            found += named(name).options
        return found

    @property
    def own(self):
        """All modules that are this service's and no other's."""
        return self.resident + self.seldom


SERVICES = (
    Service(
        name="link",
        title="any MQTT broker",
        imports=("mqtt_link",),
        package="lib/mqtt_link.json",
        page="docs/link.md",
        cloud="mqtt",
        optional=False,
        rows=("mqtt_link",),
    ),
    Service(
        name="asyncio",
        title="any MQTT broker, with asyncio",
        imports=("link_asyncio",),
        package="lib/link_asyncio.json",
        page="docs/link.md",
        cloud="mqtt",
        optional=False,
    ),
    Service(
        name="ibm",
        title="IBM IoT Foundation",
        imports=("ibmiotf", "ibmiotc"),
        resident=("ibmiotf", "ibmiotf.device"),
        seldom=(
            "ibmiotf.api",
            "ibmiotf.application",
            "ibmiotf.broker",
            "ibmiotf.config",
            "ibmiotf.address",
            "ibmiotf.history",
            "ibmiotf.options",
            "ibmiotf.timestamp",
            "ibmiotf.topics",
            "ibmiotc",
            "ibmiotc.application",
            "ibmiotc.device",
        ),
        inner=("ibmiotf.address", "ibmiotf.config", "ibmiotf.history", "ibmiotf.options"),
        package="lib/ibmiotf.json",
        page="docs/ibm.md",
        cloud="ibm",
        rows=("ibmiotf.device", "ibmiotf.application"),
    ),
    Service(
        name="azure",
        title="Azure IoT Central and IoT Hub",
        imports=("iotc",),
        resident=("iotc", "iotc_wire"),
        inner=(
            "iotc_wire",
            "iotc_certificates",
            "iotc_constants",
            "iotc_dps",
            "iotc_limits",
            "iotc_preview",
            "iotc_properties",
            "iotc_reasons",
            "iotc_setup",
            "iotc_twin",
        ),
        seldom=(
            "iotc_certificates",
            "iotc_constants",
            "iotc_dps",
            "iotc_limits",
            "iotc_preview",
            "iotc_properties",
            "iotc_reasons",
            "iotc_setup",
            "iotc_twin",
        ),
        package="lib/iotc.json",
        page="docs/azure.md",
        cloud="azure",
        rows=("iotc",),
    ),
    Service(
        name="azure_files",
        title="Azure IoT Hub, with file upload",
        imports=("iotc_files", "iotc"),
        resident=("iotc_files",),
        stays=("iotc", "rest"),
        knows=("azure",),
        package="lib/iotc_files.json",
        page="docs/azure.md",
        cloud="azure",
        rows=("iotc_files",),
    ),
    Service(
        name="teamviewer",
        title="a TeamViewer IoT agent",
        imports=("teamviewer_iot", "TeamViewerIoTPythonSDK"),
        resident=("teamviewer_iot",),
        seldom=(
            "teamviewer_errors",
            "teamviewer_names",
            "teamviewer_files",
            "teamviewer_certificate",
            "teamviewer_setup",
            "teamviewer_question",
            "teamviewer_provision",
            "TeamViewerIoTPythonSDK",
            "TeamViewerIoTPythonSDK.TVCMI_client",
            "TeamViewerIoTPythonSDK.TVCMI_error",
        ),
        inner=(
            "teamviewer_errors",  # programs find its names in teamviewer_iot
            "teamviewer_names",
            "teamviewer_files",
            "teamviewer_certificate",
            "teamviewer_setup",
            "teamviewer_question",
            "teamviewer_provision",
        ),
        stays=("mqtt_link",),
        package="lib/teamviewer_iot.json",
        page="docs/teamviewer.md",
        cloud="teamviewer",
        rows=("teamviewer_iot",),
    ),
    Service(
        name="digi",
        title="Digi push monitors",
        imports=("idigi_monitor_api",),
        resident=("idigi_errors", "idigi_monitor_api"),
        seldom=("idigi_monitors", "idigi_messages", "idigi_xml", "idigi_pretty"),
        inner=("idigi_monitors", "idigi_xml"),
        package="lib/idigi_monitor_api.json",
        page="docs/digi.md",
        cloud="digi",
        rows=("idigi_monitor_api",),
    ),
    Service(
        name="cloud_azure",
        title="Azure, by cloud.py",
        imports=("cloud_azure", "cloud", "resolver", "iotc"),
        resident=("cloud_azure",),
        seldom=("cloud_azure_seldom",),
        stays=("iotc",),
        knows=("azure",),
        inner=(
            "cloud_azure",
            "cloud_azure_seldom",
        ),
        package="lib/cloud_azure.json",
        page="docs/cloud.md",
        cloud="azure",
        optional=False,
    ),
    Service(
        name="cloud_ibm",
        title="IBM IoT Foundation, by cloud.py",
        imports=("cloud_ibm", "cloud", "resolver", "ibmiotf"),
        resident=("cloud_ibm",),
        seldom=("cloud_ibm_seldom", "cloud_ibm_watcher"),
        stays=("mqtt_link", "json_text"),
        knows=("ibm",),
        inner=(
            "cloud_ibm",
            "cloud_ibm_seldom",
            "cloud_ibm_watcher",
        ),
        package="lib/cloud_ibm.json",
        page="docs/cloud.md",
        cloud="ibm",
        optional=False,
    ),
    Service(
        name="cloud_teamviewer",
        title="a TeamViewer IoT agent, by cloud.py",
        imports=("cloud_teamviewer", "cloud", "resolver", "teamviewer_iot"),
        resident=("cloud_teamviewer",),
        seldom=(
            "cloud_teamviewer_seldom",
            "cloud_teamviewer_sensors",
            "cloud_teamviewer_metrics",
        ),
        stays=("mqtt_link", "teamviewer_iot"),
        knows=("teamviewer",),
        inner=(
            "cloud_teamviewer",
            "cloud_teamviewer_seldom",
            "cloud_teamviewer_sensors",
            "cloud_teamviewer_metrics",
        ),
        package="lib/cloud_teamviewer.json",
        page="docs/cloud.md",
        cloud="teamviewer",
        optional=False,
    ),
    Service(
        name="cloud_mqtt",
        title="any MQTT broker, by cloud.py",
        imports=("cloud_mqtt", "cloud", "resolver"),
        resident=("cloud_mqtt",),
        seldom=(
            "cloud_mqtt_seldom",
            "cloud_mqtt_watcher",
            "cloud_homeassistant",
            "cloud_homeassistant_config",
        ),
        stays=("mqtt_link",),
        inner=(
            "cloud_mqtt",
            "cloud_mqtt_seldom",
            "cloud_mqtt_watcher",
            "cloud_homeassistant",
            "cloud_homeassistant_config",
        ),
        package="lib/cloud_mqtt.json",
        page="docs/cloud.md",
        cloud="mqtt",
        optional=False,
    ),
    Service(
        name="cloud_digi",
        title="Digi push monitors, by cloud.py",
        imports=("cloud_digi", "cloud", "resolver", "idigi_monitor_api"),
        resident=("cloud_digi",),
        stays=("idigi_monitor_api", "cloud"),
        knows=("digi",),
        inner=("cloud_digi",),
        package="lib/cloud_digi.json",
        page="docs/cloud.md",
        cloud="digi",
        optional=False,
    ),
)


def named(word):
    """
    The Service that is called so, by its name or by what a program imports.

    Raises ValueError with the names that there are.
    """
    for service in SERVICES:
        if word == service.name or word in service.imports:
            return service
    raise ValueError(
        "no service {}; there are {}".format(word, ", ".join(one.name for one in SERVICES))
    )


def owner(module):
    """The Service whose own module this is, None for one that is shared or in no row."""
    for service in SERVICES:
        if module in service.own:
            return service
    return None


def inner():
    """Services' own modules that no program uses: the build may change their names."""
    return {module for service in SERVICES for module in service.inner}


def joining():
    """Modules whose names the build may change, and which need not be importable once joined."""
    return inner() | {one.module for one in SHARED if one.joins}


def public(modules):
    """Those of `modules`, in their order, that programs use: each has a stub file beside it."""
    hidden = inner() | {one.module for one in SHARED if one.inner}
    return [module for module in modules if module not in hidden]


def may_import(module):
    """Modules of lib/ that one may import, anywhere in it. ValueError for one in no row."""
    shared = [one.module for one in SHARED]
    if module in shared:
        return set(shared[: shared.index(module)])
    service = owner(module)
    if not service:
        raise ValueError(missing(module))
    allowed = set(shared) | set(service.own)
    for name in service.knows:
        allowed.update(named(name).own)
    return allowed


def missing(module):
    """What to do about a file of lib/ that no row names."""
    return (
        "lib/{}.py is in no row of tools/services.py: name it there, in SHARED (behind the files"
        " that it imports) or in its service's `resident` (stays loaded) or `seldom` (loaded on"
        " demand), then run python3 tools/services.py"
    ).format(module.replace(".", "/"))


if __name__ == "__main__":
    from workshop import packages

    sys.exit(packages.main())
