//! Whether this processor has what the binary was compiled for.

/// What is missing, for a person; `None` where all is there.
///
/// Asked by CPUID: the standard library's own check is answered by the compiler where
/// the build takes the feature for granted, and would always say yes.
pub fn missing() -> Option<&'static str> {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use core::arch::x86_64::{__cpuid, __cpuid_count};
        const FMA: u32 = 1 << 12;
        const AVX: u32 = 1 << 28;
        const AVX2: u32 = 1 << 5;
        let highest = __cpuid(0).eax;
        let one = __cpuid(1).ecx;
        let seven = if highest >= 7 {
            __cpuid_count(7, 0).ebx
        } else {
            0
        };
        if one & (FMA | AVX) != FMA | AVX || seven & AVX2 == 0 {
            return Some(
                "this lem was compiled for processors with AVX2 and FMA, and this one lacks them. \
                 Build it here with RUSTFLAGS=\"-C target-cpu=native\" cargo build --release",
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_that_runs_the_tests_has_what_they_were_compiled_for() {
        assert_eq!(super::missing(), None);
    }
}
