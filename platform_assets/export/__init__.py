"""The line for other runtimes: an Argo Workflow, a Kubeflow pipeline. Each step materializes its asset."""
