//! `sqlx::migrate!` embeds the folder `migrations`, but cannot tell cargo of files added to it.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
