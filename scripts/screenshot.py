"""Write the README's pictures of a finished line: docs/images/lineage.png and docs/images/validation.png.

PLATFORM_HOME=.platform .venv/bin/python -m scripts.screenshot reviews_sentiment
"""
