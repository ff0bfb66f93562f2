"""Measurements that users make of their own machine. The repository's bench/ compares with others."""
