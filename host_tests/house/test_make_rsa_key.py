"""tools/certificates rsa-key: the two files a board takes instead of making a key."""

import os
import stat
import subprocess
import sys

import pytest
import workshop
from cryptography import x509
from cryptography.hazmat.primitives import serialization


def tool(*arguments):
    command = [sys.executable, str(workshop.ROOT / "tools" / "certificates"), "rsa-key"]
    return subprocess.run(
        command + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_key_and_its_request_for_their_owner_only(tmp_path):
    folder = tmp_path / "certs"
    done = tool(folder, "--name", "pump 3")
    assert done.returncode == 0, done.stderr
    names = ["pump3-key.pem", "pump3-csr.pem"]
    assert done.stdout.split() == [str(folder / name) for name in names]
    assert sorted(os.listdir(folder)) == sorted(names)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in names] == [0o600] * 2
    key = serialization.load_pem_private_key((folder / names[0]).read_bytes(), None)
    assert (key.key_size, key.public_key().public_numbers().e) == (2048, 65537)
    request = x509.load_pem_x509_csr((folder / names[1]).read_bytes())
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert [attribute.value for attribute in request.subject] == ["pump 3"]
    (extension,) = request.extensions
    assert (extension.critical, extension.value.ca) == (True, False)


@pytest.mark.parametrize("there", ["key", "csr", "cert"])
def test_nothing_is_replaced(tmp_path, there):
    path = tmp_path / "client-{}.pem".format(there)
    path.write_text("mine")
    done = tool(tmp_path)
    assert done.returncode == 1
    assert str(path) + " is there already" in done.stderr
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["", " ", "a/b", "/absolute", "x" * 65])
def test_names_that_the_client_would_not_take(tmp_path, name):
    if name == "/absolute":
        name = str(tmp_path / "elsewhere")
    done = tool(tmp_path / "certs", "--name", name)
    assert done.returncode == 1
    assert "1 to 64 characters and no /" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_that_can_t_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = tool(tmp_path / "file" / "certs")
    assert done.returncode == 1
    assert done.stderr.startswith("not made: ")
    assert str(tmp_path) in done.stderr
