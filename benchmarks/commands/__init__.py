"""The commands of ``i2moe-bench``, one file each; none imports anything heavy by itself."""
