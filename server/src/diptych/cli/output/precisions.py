"""Lines about one precision: its result in the trial, its device and TensorRT."""


def device_line(provider: str, name: str | None, reason: str) -> str:
    """Return the device of the encoders and the reason for it."""
    return f"on {provider}{f', {name}' if name else ''}: {reason}"


def candidate_line(
    precision: str, passed: bool, error: str | None, image_ms: float | None, text_ms: float | None
) -> str:
    """Return the milliseconds per item of a precision, or why it was not eligible."""
    if not passed:
        return f"    {precision}  {error or 'did not pass'}"
    if image_ms is None or text_ms is None:
        return f"    {precision}  passed"
    return f"    {precision}  {image_ms:.3g} ms an image, {text_ms:.3g} ms a text"


def tensorrt_line(precision: str, state: str, reason: str) -> str:
    """Return the TensorRT state of a precision and the reason for it."""
    return f"  {precision} in TensorRT, {state}: {reason}"


def parity_line(
    precision: str,
    *,
    cosine_min: float,
    cosine_mean: float,
    batch_cosine_min: float,
    n_images: int,
    n_texts: int,
) -> str:
    """Return the parity of a precision that was measured on this machine."""
    return (
        f"  parity of {precision} here, on {n_images} golden images and {n_texts} texts: cosine at least "
        f"{cosine_min:.5f}, {cosine_mean:.5f} in the mean; alone and in a batch {batch_cosine_min:.6f}"
    )
