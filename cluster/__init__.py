"""What needs Ray: start, connect, pools, regions, placement, supervision."""

from cluster.connect import connect, start, stop

__all__ = ["connect", "start", "stop"]
