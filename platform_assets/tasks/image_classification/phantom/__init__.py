"""Synthetic chest X-rays on the anatomy of one real CT: the data source `phantom://chest?n=…&seed=…`."""
