"""docs/config.md is what the models say."""

from pathlib import Path

import pytest
from fledge import drivers
from fledge.config.docs import page

PAGE = Path(__file__).parents[3] / "docs" / "config.md"
STANDARD = {
    "strategy": ["initramfs", "oci_rootfs"],
    "filesystem": ["cpio", "ext4", "squashfs"],
    "agent": ["http", "local", "release"],
}


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout of the whole project")
@pytest.mark.skipif(
    any(set(drivers.names(kind)) < set(names) for kind, names in STANDARD.items()),
    reason="not all standard plugins are installed",
)
def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m fledge.config.docs > docs/config.md"
