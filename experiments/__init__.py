"""Experiments on the way to the shipped networks, each with its command, machine, hours and result."""
