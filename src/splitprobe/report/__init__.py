"""Tables and figures out of the stages' results. Nothing here imports torch: building them costs no start-up time."""
