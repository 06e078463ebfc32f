//! What libtorch says when something fails, for people.

use tch::TchError;

use crate::engine::EngineError;

/// libtorch's texts end in pages of C++; the first line says what happened.
pub fn failed(doing: &str, text: &str) -> EngineError {
    let first = text
        .trim_start_matches("Internal torch error: ")
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no reason given");
    let remedy = if first.contains("out of memory") || text.contains("can't allocate memory") {
        "Lower batching.batch_size, max_input_tokens or max_output_tokens, choose a smaller \
         fp_precision or model, or free the device's memory"
    } else if first.contains("no kernel image") || first.contains("driver version") {
        "Install a driver and a torch that go with this GPU, or set torch.device to cpu"
    } else {
        "Try torch.cuda_graphs: false or torch.device: cpu, and report this with the model's name"
    };
    EngineError::new(format!("libtorch failed {doing}: {first}"), remedy)
}

/// Says what was being done when an operator failed.
pub trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, EngineError>;
}

impl<T> Doing<T> for Result<T, TchError> {
    fn doing(self, what: &str) -> Result<T, EngineError> {
        self.map_err(|error| failed(what, &error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::failed;

    #[test]
    fn the_first_line_is_told_and_memory_has_its_own_remedy() {
        let text = "Internal torch error: \nCUDA out of memory. Tried to allocate 2 GiB\nException raised from x";
        let error = failed("in a forward pass", text);
        assert_eq!(
            error.what,
            "libtorch failed in a forward pass: CUDA out of memory. Tried to allocate 2 GiB"
        );
        assert!(error.remedy.contains("batch_size"), "{}", error.remedy);
    }
}
