"""Haxall's names for Haystack's kinds on top of `erl.haystack`: Python written for its `lib py` runs here as it is.

A worker finds this package under the name `hxpy`, where no other one is installed; under that name only it is meant to
be imported. Written from the library's public documentation.
"""
