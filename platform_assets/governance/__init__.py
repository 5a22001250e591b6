"""Governance: verdicts, the ledger, releases. Imported by every domain, imports none."""
