"""Tools that know nothing of networks: checks, atomic files, resumable folders, records, tables, progress bars.

Here belongs what several rooms need and what imports no other room. At import only NumPy is needed. Nothing here is
public.
"""
