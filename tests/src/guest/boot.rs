//! What the boot loader keeps: which slot it tries first, which may boot, and how often it has tried.

use std::fmt;

use super::error::GuestError;

/// A slot, by its boot name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// `rootfs.0`: what the guest is built with.
    A,
    /// `rootfs.1`: empty at first.
    B,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

impl Slot {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "A" => Some(Self::A),
            "B" => Some(Self::B),
            _ => None,
        }
    }
}

/// The boot loader's variables, as RAUC's backend `grub` knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLoader {
    /// The slots in the order in which they are tried.
    pub order: Vec<Slot>,
    /// May A boot?
    pub a_ok: bool,
    /// Boots of A since it was last marked good; three are allowed.
    pub a_tries: u32,
    /// May B boot?
    pub b_ok: bool,
    /// Boots of B since it was last marked good.
    pub b_tries: u32,
}

impl BootLoader {
    /// Reads a GRUB environment block.
    pub(super) fn parse(text: &str) -> Result<Self, GuestError> {
        let wrong = || GuestError::Answer { what: "the boot loader's variables", text: text.to_owned() };
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(wrong)
        };
        let number = |name| value(name)?.parse::<u32>().map_err(|_| wrong());
        let order: Option<Vec<_>> = value("ORDER")?.split_whitespace().map(Slot::parse).collect();
        Ok(Self {
            order: order.ok_or_else(wrong)?,
            a_ok: number("A_OK")? == 1,
            a_tries: number("A_TRY")?,
            b_ok: number("B_OK")? == 1,
            b_tries: number("B_TRY")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_block_is_read_and_a_lost_one_is_an_error() {
        let block = "# GRUB Environment Block\nORDER=B A\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=3\n#####";
        let expected =
            BootLoader { order: vec![Slot::B, Slot::A], a_ok: true, a_tries: 0, b_ok: false, b_tries: 3 };
        assert_eq!(BootLoader::parse(block).unwrap(), expected);
        for lost in ["", "ORDER=B A\nA_OK=1", "ORDER=C\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=3"] {
            assert!(BootLoader::parse(lost).is_err(), "{lost}");
        }
    }
}
