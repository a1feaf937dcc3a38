"""Named photographs: those that models are judged on, and those that proof sets are made of.

In: packages of Debian. Out: folders of classes that `benchmark --on` reads, and the photographs of proof
sets. Start with `listed`, the one list of photographs and their splits; then `command` (judged photographs,
out of the learning game GCompris) and `proof_command`.
"""
