"""The engine: inbox, workers, reconciler (observe -> plan -> apply), resync.

It meets drivers, providers and remote APIs through boundaries only.
"""
