"""Labs: whole small clouds on one machine, for developers, tests and evaluators."""
