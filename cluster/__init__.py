"""What needs Ray: start, connect, pools, placement, supervision."""
