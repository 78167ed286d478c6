"""Workers on other machines: each sums over a shard of the keys."""
