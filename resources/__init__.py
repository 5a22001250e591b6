"""One module per outside system: a Protocol, an embedded default that needs no set-up, real adapters.

Nothing here imports `platform_assets`: resources know bytes, tables and versions, not reviews or gates.
"""
