"""What the ledger refuses, and why.

LedgerError                an entry cannot be written, or what was read is not what was written
└── LedgerConflictError    one idempotency key, two bodies
"""

from resources.errors import PlatformError


class LedgerError(PlatformError):
    """The ledger cannot be written, or it is damaged: whatever depends on it must stop."""


class LedgerConflictError(LedgerError):
    """The same (kind, subject, fingerprint) was appended before with another body."""
