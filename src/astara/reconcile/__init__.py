"""The engine: inbox, workers, reconciler (observe -> plan -> apply), resync. It meets the world through boundaries only."""
