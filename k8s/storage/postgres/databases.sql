-- Besides `platform`, which the server makes by itself: ledger, catalogue and locks.
CREATE DATABASE dagster;
CREATE DATABASE mlflow;
