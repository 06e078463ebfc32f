//! A symmetric matrix with few diagonals, and its Cholesky factor.

#[derive(Clone, Debug)]
pub struct Banded {
    n: usize,
    /// Diagonals kept: the main one and those above it.
    width: usize,
    /// Row by row, `width` values each: element (i, i + k) at i·width + k.
    values: Vec<f64>,
}

impl Banded {
    pub fn zero(n: usize, width: usize) -> Self {
        let width = width.max(1);
        Self {
            n,
            width,
            values: vec![0.0; n * width],
        }
    }

    /// Adds to an element of the upper triangle within the band; others are not kept.
    pub fn add(&mut self, i: usize, j: usize, value: f64) {
        if let Some(k) = j.checked_sub(i).filter(|k| *k < self.width)
            && let Some(element) = self.values.get_mut(i * self.width + k)
        {
            *element += value;
        }
    }

    /// The factor U of UᵀU; `None` where the matrix is not positive definite.
    pub fn factored(mut self) -> Option<Self> {
        let w = self.width;
        for i in 0..self.n {
            let pivot = self.values[i * w];
            if !(pivot.is_finite() && pivot > 0.0) {
                return None;
            }
            let root = pivot.sqrt();
            let reach = w.min(self.n - i);
            for k in 0..reach {
                self.values[i * w + k] /= root;
            }
            for k in 1..reach {
                let factor = self.values[i * w + k];
                for m in k..reach {
                    self.values[(i + k) * w + m - k] -= factor * self.values[i * w + m];
                }
            }
        }
        Some(self)
    }

    /// Solves UᵀU x = b, of a matrix that [`Banded::factored`] gave.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let w = self.width;
        let mut x = b.to_vec();
        x.resize(self.n, 0.0);
        for i in 0..self.n {
            x[i] /= self.values[i * w];
            for k in 1..w.min(self.n - i) {
                x[i + k] -= self.values[i * w + k] * x[i];
            }
        }
        for i in (0..self.n).rev() {
            for k in 1..w.min(self.n - i) {
                x[i] -= self.values[i * w + k] * x[i + k];
            }
            x[i] /= self.values[i * w];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_solved_fulfils_the_equations(
            rows in proptest::collection::vec(
                (proptest::array::uniform3(-1.0f64..1.0), -10.0f64..10.0), 1..40),
        ) {
            let n = rows.len();
            let mut matrix = Banded::zero(n, 3);
            let mut full = vec![vec![0.0; n]; n];
            for (i, (row, _)) in rows.iter().enumerate() {
                for (k, value) in row.iter().enumerate().take(n - i) {
                    // Dominant on the diagonal, so positive definite.
                    let value = if k == 0 { value.abs() + 5.0 } else { *value };
                    matrix.add(i, i + k, value);
                    full[i][i + k] = value;
                    full[i + k][i] = value;
                }
            }
            let b: Vec<f64> = rows.iter().map(|(_, b)| *b).collect();
            let x = matrix.factored().unwrap().solve(&b);
            for (row, b) in full.iter().zip(&b) {
                let sum: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum();
                prop_assert!((sum - b).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn one_that_is_not_positive_definite_has_no_factor() {
        let mut matrix = Banded::zero(2, 2);
        matrix.add(0, 0, 1.0);
        matrix.add(0, 1, 2.0);
        matrix.add(1, 1, 1.0);
        assert!(matrix.factored().is_none());
    }
}
