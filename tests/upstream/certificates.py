"""Certificates of a private authority, good and bad, made by the openssl command line."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import warnings
from pathlib import Path
from typing import Final

OPENSSL: Final = shutil.which("openssl")
BAD: Final = ("expired", "wrong_name", "self_signed")

_CONFIG: Final = """
[req]
distinguished_name = nobody
prompt = no
[nobody]
CN = fbguard tests
[ca]
default_ca = here
[here]
database = {folder}/index.txt
new_certs_dir = {folder}
certificate = {folder}/authority.pem
private_key = {folder}/authority.key
default_md = sha256
policy = anybody
unique_subject = no
rand_serial = yes
[anybody]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[loopback]
subjectAltName = IP:127.0.0.1, DNS:localhost
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[elsewhere]
subjectAltName = DNS:elsewhere.example
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[alone]
subjectAltName = IP:127.0.0.1, DNS:localhost
basicConstraints = critical, CA:FALSE
"""
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_PAST: Final = ("20200101000000Z", "20200201000000Z")
_PRESENT: Final = ("20200101000000Z", "20991231000000Z")


class Certificates:
    """``good`` for 127.0.0.1 and localhost, and three that are not: :data:`BAD`.

    All but the self-signed one are by the authority whose certificate is ``authority``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = folder / "authority.pem"
        (folder / "index.txt").touch()
        (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder))
        self._sign_itself("authority", "authority")
        self._sign_itself("self_signed", "alone")
        self._issue("good", "loopback", _PRESENT)
        self._issue("expired", "loopback", _PAST)
        self._issue("wrong_name", "elsewhere", _PRESENT)

    def context(self, name: str) -> ssl.SSLContext:
        """Return what a server with this certificate needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        return context

    def old_context(self) -> ssl.SSLContext:
        """Return what a server needs that has the good certificate and speaks TLS 1.0 only."""
        context = self.context("good")
        lower(context)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.maximum_version = ssl.TLSVersion.TLSv1
        return context

    def _sign_itself(self, name: str, extensions: str) -> None:
        self._run("req", "-x509", *_KEY, *self._files(name), "-days", "3650", "-extensions", extensions)

    def _issue(self, name: str, extensions: str, between: tuple[str, str]) -> None:
        request = str(self._folder / f"{name}.csr")
        self._run("req", "-new", *_KEY, "-keyout", self._files(name)[1], "-out", request)
        dates = ("-startdate", between[0], "-enddate", between[1])
        self._run(
            "ca",
            "-batch",
            "-notext",
            "-in",
            request,
            *self._files(name)[2:],
            "-extensions",
            extensions,
            *dates,
        )

    def _files(self, name: str) -> tuple[str, str, str, str]:
        return ("-keyout", str(self._folder / f"{name}.key"), "-out", str(self._folder / f"{name}.pem"))

    def _run(self, verb: str, *arguments: str) -> None:
        assert OPENSSL is not None
        command = [OPENSSL, verb, "-config", str(self._folder / "openssl.cnf"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr


def lower(context: ssl.SSLContext) -> None:
    """Let a context speak TLS 1.0, as far as the library does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
