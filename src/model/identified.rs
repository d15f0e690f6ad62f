//! Runs a command that makes a resource with identifiers that are given instead of drawn.
//!
//! A network that is a copy of another one, such as an account of AWS, has its identifiers. A command draws those of the
//! resources that it makes before it draws anything else.

use std::collections::VecDeque;
use std::convert::Infallible;

use rand::{Rng, TryRng};

use super::command::{Command, Edit};

/// A command, with its first draws: the bits of an identifier, or none for one that is drawn as usual. A draw that is in use
/// already is drawn anew.
#[derive(Debug, Clone)]
pub struct Identified<C> {
    /// The draws.
    pub draws: Vec<Option<u64>>,
    /// The command.
    pub command: C,
}

impl<C: Command> Command for Identified<C> {
    type Outcome = C::Outcome;
    type Error = C::Error;

    fn run(self, edit: &mut Edit<'_>) -> Result<C::Outcome, C::Error> {
        let mut given = Given {
            draws: self.draws.into(),
            rng: &mut *edit.rng,
        };
        let mut inner = Edit {
            network: &mut *edit.network,
            rng: &mut given,
            changes: std::mem::take(&mut edit.changes),
        };
        let outcome = self.command.run(&mut inner);
        // Those of a refused command are reverted by the caller.
        let changes = inner.changes;
        edit.changes = changes;
        outcome
    }
}

struct Given<'r> {
    draws: VecDeque<Option<u64>>,
    rng: &'r mut dyn Rng,
}

impl TryRng for Given<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.rng.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draws.pop_front().flatten().unwrap_or_else(|| self.rng.next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.rng.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::vpc::CreateVpc;
    use crate::model::{Limits, Network};

    #[test]
    fn a_vpc_has_the_identifiers_that_are_given_and_draws_the_others() {
        let mut network = Network::new(Limits::UNBOUNDED);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut make = |draws: Vec<Option<u64>>, block: &str| {
            let command = CreateVpc::new(block.parse().unwrap());
            network.execute(Identified { draws, command }, &mut rng).unwrap().0
        };
        let vpc = make(vec![Some(7), None, Some(9)], "10.0.0.0/16");
        assert_eq!(vpc.id.to_string(), "vpc-00000000000000007");
        assert_eq!(vpc.default_network_acl_id.to_string(), "acl-00000000000000009");
        assert_ne!(vpc.main_route_table_id.to_string(), "rtb-00000000000000009");
        let other = make(vec![Some(7)], "10.1.0.0/16");
        assert_ne!(other.id, vpc.id, "one that is in use is not given twice");
    }
}
