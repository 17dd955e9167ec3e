"""ErlPort's `python -m erlport.cli`, with our Python behind it: for an ErlPort whose `priv` names this one.

Takes the flags of `python -m erl`, of which it is another name.
"""

from __future__ import annotations

from erl.__main__ import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
