"""Checks, files, folders and other tools that know nothing of networks.

Here belongs what several rooms need and what imports no room; NumPy only at import. Nothing here is public.
"""
