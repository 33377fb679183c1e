"""
The files of a TeamViewer client: key, request and certificate in CertFolder.

Loaded by teamviewer_iot and its other parts when they need a file, and let go again. Not for
programs.
"""

import os

from micropython import const

from teamviewer_errors import DirectoryError, FileError

_ENOENT = const(2)
_EACCES = const(13)
_A_FOLDER = const(0x4000)  # in a file's mode


def read(path):
    """A file's bytes. FileError when it can't be read."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise FileError(e.errno, "can't read " + path)


def exists(path):
    """Whether there is such a file."""
    try:
        return bool(os.stat(path))
    except OSError:
        return False


def remove(path):
    """Delete a file if there is one. FileError if it resists."""
    try:
        os.remove(path)
    except OSError as e:
        if e.errno != _ENOENT:
            raise FileError(e.errno, "can't delete " + path)


def remove_all(client):
    """Delete key, request and certificate, whichever there is. FileError if one resists."""
    for path in (
        # The key last: what is cut short here is taken up again by the next provision().
        client.get_cert_path(),
        client.get_cert_der_path(),
        client.get_csr_path(),
        client.get_key_der_path(),
        client.get_key_path(),
    ):
        remove(path)


def write(path, data, named=True):
    """
    Write a file whole or not at all: who reads meets the old file or the new one. named: False
    keeps the error's text as the documents have it, without the file's name. Raises FileError.
    """
    text = "Error writing the certificate to file."
    if named:
        text += " (%s)" % path
    try:
        remove(path + ".new")
        with _create_private(path + ".new") as f:
            f.write(data)
        os.rename(path + ".new", path)
    except FileError as e:
        raise FileError(e.error_code, text)
    except OSError as e:
        raise FileError(e.errno, text)


def _create_private(path):
    # An empty file that nobody else could read at any moment, where files have modes.
    if hasattr(os, "system"):  # the unix port: its open() takes no mode, but a shell has one
        os.putenv("PICOLINK_NEW", path)
        if os.system('umask 077 && : > "$PICOLINK_NEW"'):
            raise OSError(_EACCES)
    return open(path, "wb")


def make_folder(folder):
    """Make a folder with those above it, unless it is there. DirectoryError."""
    path = ""
    code = None
    for part in folder.split("/"):
        path += part
        if part:
            try:
                os.mkdir(path)
            except OSError as e:
                code = e.errno  # usually: it is there
        path += "/"
    try:
        if os.stat(folder)[0] & _A_FOLDER:
            return
    except OSError:
        pass
    raise DirectoryError(code, "can't make the folder " + folder)
