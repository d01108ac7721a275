"""Evidence: what the papers claim, measured on the networks that this package ships."""
