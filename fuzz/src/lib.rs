//! Nothing: the programs in `targets/` are all there is.
