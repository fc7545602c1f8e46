"""One room per kind of instance, each behind model.boundaries.InstanceProvider."""
