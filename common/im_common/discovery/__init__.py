"""Service discovery in etcd, in go-zero's format: key `{name}/{lease id}`, value `host:port`."""

from im_common.discovery.etcd import Compacted, EtcdClient, EtcdError, LeaseGone
from im_common.discovery.registration import Registration
from im_common.discovery.watching import EndpointWatcher

__all__ = [
    "Compacted",
    "EndpointWatcher",
    "EtcdClient",
    "EtcdError",
    "LeaseGone",
    "Registration",
]
