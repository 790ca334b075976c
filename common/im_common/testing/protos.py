"""All services of the protos, so that a test of each leaves none out."""

from __future__ import annotations

import importlib
import pkgutil

from google.protobuf.descriptor import ServiceDescriptor

import im


def every_service() -> list[ServiceDescriptor]:
    """Of every module that protos of ours were made into, by name."""
    modules = pkgutil.walk_packages(im.__path__, "im.")
    protos = [importlib.import_module(m.name) for m in modules if m.name.endswith("_pb2")]
    found = [s for proto in protos for s in proto.DESCRIPTOR.services_by_name.values()]
    return sorted(found, key=lambda service: str(service.full_name))
