//! Proof that the store keeps what it acknowledged.
//!
//! * [`disk`] is a disk that forgets: a FUSE file system that knows what was fsynced, and on a power cut drops
//!   and tears the rest.
//! * [`model`] says what a store must hold after so many numbered batches, to the last byte.
//! * The binary `store-writer` commits those batches to a store and acknowledges each on its standard output.
//! * [`trial`] runs it, cuts the power or kills it, and compares what was acknowledged with what is found.
//!
//! All of it is tried on stock sled first ([`stock`]): a harness that does not catch that one proves nothing.

pub mod disk;
pub mod model;
pub mod random;
pub mod stock;
pub mod trial;
