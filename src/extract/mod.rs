//! Reads model and token counts out of a response body as it passes: bytes in, facts out.
