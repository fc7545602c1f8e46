"""The failure matrix: every part fails in every way, once a run at least, and the recorded history is judged by laws.

`make chaos`; docs/howto/chaos.md. Inside a lab of profile cluster: `python -m chaos`.
"""
