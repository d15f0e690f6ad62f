//! Checks the tables that threads share without a lock under a model checker: every interleaving of the threads, and every
//! value that the memory model allows. `make loom` runs it.
#![cfg(loom)]
#![allow(dead_code, missing_docs)]

#[path = "../src/datapath/state/by_index.rs"]
mod by_index;
#[path = "connections.rs"]
mod datapath;
mod table;

/// What the tables use of other rooms.
mod mapping {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct InterfaceIndex(pub std::num::NonZeroU32);

    impl InterfaceIndex {
        pub fn from_number(number: u32) -> Option<Self> {
            std::num::NonZeroU32::new(number).map(Self)
        }

        pub fn get(self) -> u32 {
            self.0.get()
        }
    }
}

mod wire {
    pub mod frame {
        pub const PROTOCOL_TCP: u8 = 6;
        pub const PROTOCOL_UDP: u8 = 17;
    }
}
