"""Teachers: who is asked which of a query's candidates is the same record, or none of them.

One small protocol. A teacher takes questions and gives, for each, a choice, a probability where it has one, an
explanation where asked, and what it cost; or it abstains, which is an answer of its own and never "none".
"""

from __future__ import annotations
