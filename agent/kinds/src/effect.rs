//! Failpoints around what lasts: `effect!("place.rename", ...)` is the points `place.rename:before` and
//! `place.rename:after`.

/// Does something that lasts, between its two failpoints; the second is reached whatever came of it.
macro_rules! effect {
    ($name:literal, $deed:expr) => {{
        takt_failpoint::at(concat!($name, ":before"));
        let done = $deed;
        takt_failpoint::at(concat!($name, ":after"));
        done
    }};
}

pub(crate) use effect;
