"""The gateway and the token service speak TLS with a certificate of one's own, which a private CA may have signed."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest

from asrproxy.testing import tones
from asrproxy_aliyun.emulator import Emulator
from tests.emulator.wire import connect, recognize, signed

x509 = pytest.importorskip("cryptography.x509", reason="comes with aliyun-python-sdk-core")


def certificate(folder: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulator")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(pem) + private)
    return file


async def test_tls_with_a_certificate_of_ones_own(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    file = certificate(tmp_path)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(file)))
    async with Emulator(tls_cert=file) as cloud, aiohttp.ClientSession(connector=connector) as trusting:
        assert (cloud.gateway_url[:8], cloud.websocket_url[:6]) == ("https://", "wss://")
        async with trusting.get(f"{cloud.token_url}/", params=signed(cloud)) as response:
            token = (await response.json())["Token"]["Id"]
        assert (await recognize(trusting, cloud, tones.synthesize("天"), token=token))[1]["result"] == "天"
        messages = await (await connect(trusting, cloud, "SpeechRecognizer")).whole(tones.synthesize("天"))
        assert messages[-1]["payload"]["result"] == "天"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await recognize(http, cloud, tones.synthesize("天"))
