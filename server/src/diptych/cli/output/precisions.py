"""Say in a line how one precision fared, and where it runs; knows nothing of how that was tried."""


def device_line(provider: str, name: str | None, reason: str) -> str:
    """Where the encoders run, and why there."""
    return f"on {provider}{f', {name}' if name else ''}: {reason}"


def candidate_line(
    precision: str, passed: bool, error: str | None, image_ms: float | None, text_ms: float | None
) -> str:
    """Its times in milliseconds per item, or why it is out."""
    if not passed:
        return f"    {precision}  {error or 'did not pass'}"
    if image_ms is None or text_ms is None:
        return f"    {precision}  passed"
    return f"    {precision}  {image_ms:.3g} ms an image, {text_ms:.3g} ms a text"


def graphs_line(precision: str, items: str, captured: bool, reason: str) -> str:
    """How batches of a tower's items run on a GPU in a precision, and why so."""
    return f"  {precision} runs {items} {'as' if captured else 'without'} CUDA graphs: {reason}"


def tensorrt_line(precision: str, state: str, reason: str) -> str:
    """How far TensorRT is with a precision, and why."""
    return f"  {precision} in TensorRT, {state}: {reason}"
