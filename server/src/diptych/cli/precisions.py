"""Say in a line how one precision fared; knows nothing of how it was tried."""


def candidate_line(
    precision: str, passed: bool, error: str | None, image_ms: float | None, text_ms: float | None
) -> str:
    """Its times in milliseconds per item, or why it is out."""
    if not passed:
        return f"    {precision}  {error or 'did not pass'}"
    if image_ms is None or text_ms is None:
        return f"    {precision}  passed"
    return f"    {precision}  {image_ms:.3g} ms an image, {text_ms:.3g} ms a text"
