//! Cuts a range of values into intervals, and finds the interval of a value.

use std::net::IpAddr;

/// Where along each line the verdict of a table may change. Between two cut points that follow each other it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutPoints {
    /// The first address of each interval.
    pub addresses: Vec<IpAddr>,
    /// For each protocol that a rule names, and for all others together (`None`): the first port, or type and code, of each
    /// interval.
    pub ports: Vec<(Option<u8>, Vec<u16>)>,
    /// The groups that a rule names.
    pub groups: Vec<u64>,
}

/// A value that ranges are made of.
pub(super) trait Value: Copy + Ord + std::hash::Hash {
    const MIN: Self;

    /// The value after this one, if there is one.
    fn next(self) -> Option<Self>;
}

macro_rules! value {
    ($($kind:ty),+) => {
        $(impl Value for $kind {
            const MIN: Self = 0;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        })+
    };
}

value!(u16, u32, u128);

/// Intervals, each with the number of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cuts<T> {
    /// The first value of each interval, in order. The first of all is the least value.
    starts: Vec<T>,
    sets: Vec<u32>,
}

impl<T: Value> Cuts<T> {
    /// One interval of all values.
    pub(super) fn new(set: u32) -> Self {
        Self {
            starts: vec![T::MIN],
            sets: vec![set],
        }
    }

    /// From this value on, which is not less than any before, another set.
    pub(super) fn push(&mut self, start: T, set: u32) {
        if self.sets.last() == Some(&set) {
            return;
        }
        if self.starts.last() == Some(&start) {
            self.sets.pop();
            self.starts.pop();
            // The interval before may have the same set.
            return if self.starts.is_empty() {
                (self.starts, self.sets) = (vec![start], vec![set]);
            } else {
                self.push(start, set);
            };
        }
        self.starts.push(start);
        self.sets.push(set);
    }

    /// The set of a value's interval.
    #[inline]
    pub(super) fn find(&self, value: T) -> u32 {
        let after = self.starts.partition_point(|start| *start <= value);
        self.sets[after.saturating_sub(1)]
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = T> {
        self.starts.iter().copied()
    }
}
