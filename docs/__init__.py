"""The documentation: pages, and the programs that build and illustrate them."""
