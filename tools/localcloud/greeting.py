"""
What a person reads on a terminal when the cloud is ready: what is served where, whom it lets in,
and a command to type next. Programs read the ready line instead.
"""

import json
import os
import shlex

import workshop

from . import pki

_EXAMPLE = workshop.ROOT / "examples" / "device.py"


def text(cloud, ready):
    """
    The text for a Cloud that is ready. Writes <state>/<part>/device.json for each part that lets a
    device in: what examples/device.py asks for.
    """
    lines = ["", "The local cloud is ready. Ctrl-C ends it."]
    table = [("state", cloud.state + ("" if cloud.lasts else " (removed at the end)"))]
    mqtt = ready.get("mqtt")
    if mqtt:
        where = "{host} port {port}, with TLS {tls_port}; WebSocket {ws_port}, with TLS {wss_port}"
        table.append(("MQTT", where.format(**mqtt)))
    table += [
        ("HTTP", "{url} and {tls_url}".format(**ready["http"])),
        ("root certificate", "{} (for a board: ca.der beside it)".format(ready["ca_pem"])),
    ]
    lines += _table(table)
    commands = []
    for part in cloud.parts:
        lines += ["", part.title] + _table(part.introduce())
        settings = part.device()
        if settings is not None:
            title = "A device: " + part.title
            commands.append((title, device_command(cloud.state, part.key, settings)))
        if part.command() is not None:
            commands.append((part.title + ": hear what devices do", part.command()))
    lines += ["", "Next, in another terminal:"]
    for title, command in commands:
        lines += ["", "  # " + title, "  " + command]
    control = ready["control"]
    lines += [
        "",
        "  # Who is connected",
        '  curl -H "Authorization: Bearer $(cat {})" {}/clients'.format(
            shlex.quote(control["token_file"]), control["url"]
        ),
        "",
        "What happens is told below; docs/localcloud.md says what else can be asked of it.",
        "",
    ]
    return "\n".join(lines)


def _table(rows):
    width = max([len(name) for name, _ in rows] + [18])
    return ["  {:<{}}  {}".format(name, width, value) for name, value in rows]


def device_command(state, key, settings):
    """The command that runs examples/device.py with these settings, which it finds in a file."""
    folder = os.path.join(state, key)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    file = os.path.join(folder, "device.json")
    pki.write_private(file, json.dumps(settings, indent=4).encode() + b"\n")
    path = workshop.device_env()["MICROPYPATH"]
    command = workshop.device_command(_EXAMPLE)
    return "cd {} && MICROPYPATH={} {}".format(
        shlex.quote(folder), shlex.quote(path), " ".join(map(shlex.quote, command))
    )
