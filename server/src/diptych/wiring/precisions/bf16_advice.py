"""Advise to move from a recorded precision to bf16, which the processor or the plugin may have by now."""

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.openvino_provider import why_no_bf16
from diptych.core.tuning.precision import CPU_PROVIDER, Candidate, choose
from diptych.wiring.loading.bundles import BF16, VerifiedBundle
from diptych.wiring.precisions.chosen import ChosenPrecision
from diptych.wiring.precisions.golden_parity import is_known_to_fail
from diptych.wiring.tuning.encoder_timing import known_cpu_timings


def bf16_advice(chosen: ChosenPrecision, n_threads: int, plan_file: PlanFile) -> str | None:
    """Return how to move to bf16; None where it is not offered or known to be of no use."""
    bundle, precision = chosen.loaded.bundle, chosen.choice.precision
    if (
        precision not in {"fp32", "int8"}
        or chosen.device.provider != CPU_PROVIDER
        or why_no_bf16() is not None
    ):
        return None
    if is_known_to_fail(bundle, BF16, n_threads, plan_file):
        return None
    if _is_known_to_be_slow(bundle, precision, n_threads, plan_file):
        return None
    return (
        f"this processor multiplies in {BF16}, which may be faster than fp32 and is more exact than int8: "
        f"`diptych models activate {bundle.manifest.name} --precision {BF16}` tries it"
    )


def _is_known_to_be_slow(bundle: VerifiedBundle, precision: str, n_threads: int, plan_file: PlanFile) -> bool:
    """Whether `auto` would prefer the precision to bf16, by the times of an earlier start."""
    timings = known_cpu_timings(bundle, n_threads=n_threads, plan_file=plan_file)
    if not {precision, BF16} <= timings.keys():
        return False
    candidates = [
        Candidate(name, passed=True, image_ms=timings[name].image_ms, text_ms=timings[name].text_ms)
        for name in bundle.manifest.served_precisions  # the exact one first
        if name in {precision, BF16}
    ]
    return choose(candidates).precision != BF16
