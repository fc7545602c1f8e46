"""The nouns of the orchestrator, and the boundaries (Protocols) behind which the world lies. No I/O."""
