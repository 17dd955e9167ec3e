"""The name `digitalhub` for programs that import it first: see `erl.names.facades`."""

from erl.names.facades import stand_in

stand_in(__name__)
