"""The runtime that all services share: configuration, RPC, discovery, bus, storage, logs."""

__version__ = "0.1.0"
