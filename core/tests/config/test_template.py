"""manifest.toml."""

import tomllib
from typing import Any

import pytest
from fledge.config.check import check
from fledge.config.template import Template
from fledge.errors import Problem

TOP = 'schema_version = "v1"\nname = "web"\nversion = "1.0.0"\n'

FULL = """
schema_version = "v1"
name = "web"
version = "1.0.0"
runtime = "web-runtime"
enabled = false
openapi = "https://example.org/openapi.json"

[resources]
cpu_cores = 1
memory_mb = 256

[workload]
type = "http"
entrypoint = ["/usr/sbin/nginx", "-g", "daemon off;"]
base_url = "http://localhost:80/health"
workdir = "/srv"
user = "www-data"

[workload.env]
LOG = "debug"

[env]
LOG = "info"
WORKERS = "4"

[network]
mode = "bridged"
expose = [{ port = 80, protocol = "tcp", host_port = 8080 }, { port = 53, protocol = "udp" }]
subnet = "10.1.0.0/24"
gateway = "10.1.0.1"
auto_assign = true

[actions.reload]
description = "Reload"
method = "POST"
path = "/reload"
timeout_ms = 5000

[health_check]
endpoint = "/healthz"
timeout_ms = 3000

[cloud_init]
datasource = "NoCloud"
seed_mode = "vfat"
user_data = { content = "#cloud-config" }
network_config = { path = "./net.yaml", inline = false }

[devices]
pci_passthrough = ["0000:01:00.0"]
allowlist = ["10de:*", "8086:1234"]

[labels]
team = "platform"

[[disks]]
name = "data"
source = "https://example.org/data.img"
format = "qcow2"
checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
readonly = true
target = "vdb"

[rootfs]
format = "raw"
"""


def written(text: str) -> dict[str, Any]:
    problems: list[Problem] = []
    template = check(Template, tomllib.loads(text), problems, file="manifest.toml")
    assert problems == []
    assert template is not None
    return template.written()


def problems_of(text: str) -> list[str]:
    problems: list[Problem] = []
    assert check(Template, tomllib.loads(text), problems, file="manifest.toml") is None
    return [str(problem) for problem in problems]


def test_every_section() -> None:
    data = written(FULL)
    assert data["workload"]["env"] == {"LOG": "debug", "WORKERS": "4"}
    assert "env" not in data
    assert data["cloud_init"]["user_data"] == {"content": "#cloud-config", "inline": True}
    expected = tomllib.loads(FULL)
    for key in ("resources", "network", "actions", "health_check", "devices", "labels", "disks", "rootfs", "openapi"):
        assert data[key] == expected[key]
    assert data["enabled"] is False


def test_only_what_was_written() -> None:
    assert written(TOP) == tomllib.loads(TOP)
    assert written(TOP + "[network]\nexpose = []\n")["network"] == {"expose": []}


@pytest.mark.parametrize(
    "workload",
    [
        'entrypoint = ["/usr/bin/env", "postgres"]',
        'entrypoint = "/usr/bin/env"\nargs = ["postgres"]',
        'entrypoint = ["/usr/bin/env"]\nargs = ["postgres"]',
    ],
)
def test_older_entrypoint(workload: str) -> None:
    assert written(f"{TOP}[workload]\n{workload}\n")["workload"] == {"entrypoint": ["/usr/bin/env", "postgres"]}


def test_env_without_a_workload() -> None:
    assert written(TOP + "[env]\nA = '1'\n")["workload"] == {"env": {"A": "1"}}


def test_schema_version_of_the_older_samples() -> None:
    assert written(TOP.replace("v1", "1.0"))["schema_version"] == "1.0"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "schema_version: missing; allowed: 'v1', '1.0'"),
        ("", "name: missing"),
        (TOP.replace("v1", "v2"), "schema_version: 'v2' is not allowed; allowed: 'v1', '1.0'"),
        (TOP.replace('"web"', '""'), "name: must not be empty"),
        (
            TOP.replace("web", "a\\tb"),
            "name: 'a\\tb' can't name a file; allowed: up to 200 bytes of printable characters",
        ),
        (TOP.replace("1.0.0", ""), "version: must not be empty"),
        (TOP + "[resources]\ncpu_cores = 0\n", "resources.cpu_cores: 0 is out of range; allowed: at least 1"),
        (TOP + "[resources]\nmemory = 5\n", "resources.memory: unknown key 'memory'; did you mean 'memory_mb'?"),
        (TOP + "[workload]\nentrypoint = []\n", "workload.entrypoint: must not be empty"),
        (TOP + "[workload]\nentrypoint = ''\n", "workload.entrypoint: '' is not a program; the first item names it"),
        (TOP + "[workload]\nentrypoint = 5\n", "workload.entrypoint: 5 is not an array"),
        (TOP + "[workload]\nargs = ['x']\n", "workload: args is given without the entrypoint that it belongs to"),
        (
            TOP + "[workload]\nworkdir = 'srv'\n",
            "workload.workdir: 'srv' is not absolute; a path in the guest starts with /",
        ),
        (
            TOP + "[workload]\nbase_url = 'http://127.0.0.1:PORT'\n",
            "workload.base_url: 'http://127.0.0.1:PORT' is not a URL: Port could not be cast to integer value as 'PORT'",
        ),
        (
            TOP + "[workload]\nbase_url = 'http://[::1'\n",
            "workload.base_url: 'http://[::1' is not a URL: Invalid IPv6 URL",
        ),
        (
            TOP + "[workload]\nbase_url = 'ftp://x'\n",
            "workload.base_url: 'ftp://x' is not a URL with http:// or https://, such as 'http://127.0.0.1:80'",
        ),
        (TOP + "[env]\nWORKERS = 4\n", 'env.WORKERS: 4 is not a string (write "4")'),
        (
            TOP + "[network]\nmode = 'host'\n",
            "network.mode: 'host' is not allowed; allowed: 'bridged', 'vsock', 'dhcp'",
        ),
        (TOP + "[[network.expose]]\nport = 0\n", "network.expose[0].port: 0 is out of range; allowed: 1 to 65535"),
        (
            TOP + "[[network.expose]]\nport = 65536\n",
            "network.expose[0].port: 65536 is out of range; allowed: 1 to 65535",
        ),
        (TOP + "[[network.expose]]\nprotocol = 'tcp'\n", "network.expose[0].port: missing"),
        (
            TOP + "[network]\nsubnet = '10.0.0.1/24'\n",
            "network.subnet: '10.0.0.1/24' is not a subnet in CIDR form, such as '10.1.0.0/24'",
        ),
        (TOP + "[network]\ngateway = 'x'\n", "network.gateway: 'x' is not an IP address"),
        (TOP + "[actions.x]\nmethod = 'GET'\n", "actions.x.path: missing"),
        (TOP + "[health_check]\ntimeout_ms = -1\n", "health_check.timeout_ms: -1 is out of range; allowed: at least 0"),
        (
            TOP + "[cloud_init.user_data]\ncontent = ''\npath = 'x'\n",
            "cloud_init.user_data: content and path exclude each other",
        ),
        (
            TOP + "[cloud_init.user_data]\ncontent = ''\ninline = false\n",
            "cloud_init.user_data: inline is false although content is given",
        ),
        (
            TOP + "[devices]\nallowlist = ['nvidia']\n",
            "devices.allowlist[0]: 'nvidia' is not of the form vendor:device or vendor:*, such as '10de:*'",
        ),
        (TOP + "[[disks]]\nname = 'x'\n", "disks[0].source: missing"),
        (TOP + "[labels]\nx = 1\n", 'labels.x: 1 is not a string (write "1")'),
        (TOP + "[rootfs]\nurl = 'x'\n", "rootfs.url: the build fills url in; --artifact-url changes it"),
        (TOP + "[initramfs]\n", "initramfs: the build fills the initramfs section in"),
        (TOP + "enabled = 'yes'\n", "enabled: 'yes' is not true or false"),
        pytest.param(
            TOP + "[netwrok]\n", "netwrok: unknown key 'netwrok'; did you mean 'network'?", id="case_068 table"
        ),
        pytest.param(
            TOP + "[workload]\nenrtypoint = 1\n",
            "workload.enrtypoint: unknown key 'enrtypoint'; did you mean 'entrypoint'?",
            id="case_068 key",
        ),
    ],
)
def test_what_is_wrong(text: str, line: str) -> None:
    assert f"manifest.toml: {line}" in problems_of(text)
