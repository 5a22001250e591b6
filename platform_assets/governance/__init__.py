"""Governance: verdicts, releases, retention, subjects and erasure. Imported by every domain, imports none."""
