"""Sources without a transport: what a strategy is given when it is tested alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fledge.context import BuildContext
from fledge.image.parse_config import parse_config
from fledge.sources import AgentRequest, DockerfileRequest, FileSource, ImageSource, Request, Source
from fledge.testing.project import CONFIG, LAYERS, PLATFORM, PROGRAM
from fledge.testing.tars import add_layer
from fledge.tree.content import Content
from fledge.values import Digest, Platform


def image_source(
    build: BuildContext,
    request: Any,
    layers: Sequence[bytes] = LAYERS,
    config: Mapping[str, Any] = CONFIG,
) -> ImageSource:
    """An image of uncompressed layers, in the store."""
    stored = [add_layer(build.store, layer) for layer in layers]
    system, _, architecture = PLATFORM.partition("/")
    diff_ids = [str(Digest.of(layer)) for layer in layers]
    document = json.dumps(
        {"os": system, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}, **config}
    ).encode()
    parsed = parse_config(document, "the config", Platform.parse(PLATFORM), len(layers))
    return ImageSource(request.reference, Digest.of(document), parsed, tuple(stored))


def answer(build: BuildContext, request: Request, layers: Sequence[bytes] = LAYERS) -> Source:
    """What a transport, a builder or an agent source would give."""
    if isinstance(request, AgentRequest):
        return FileSource(Content.of(PROGRAM), Digest.of(PROGRAM), "the agent of the tests")
    assert isinstance(request, DockerfileRequest) or request.reference.transport
    return image_source(build, request, layers)
