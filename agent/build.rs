//! Lets the linker put what the agent runs at rest side by side, in the programs as they go to devices: a page that is touched brings
//! its neighbours into memory.

fn main() {
    println!("cargo::rerun-if-changed=at_rest.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // Only the profile `device` is for size above all. The names are those of ELF, and `INSERT` is known to the linkers of GNU and LLVM.
    if is("OPT_LEVEL", "z") && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names it");
        println!("cargo::rustc-link-arg-bin=takt-agent=-Wl,-T,{folder}/at_rest.ld");
    }
}
