"""Measuring: step cost, throughput, the machine's floor, and a naive loop as the yardstick."""
