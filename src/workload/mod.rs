//! What is asked of the engine: prompts, lengths, requests.
