"""Serving: the deployment and the predictor."""
