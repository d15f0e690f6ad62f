//! Implements `localvpc man`: manual pages from the same descriptions as `--help`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::{Done, Failure, print};

/// Where to write the pages.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// Write a page for each command into this folder, such as /usr/local/share/man/man1
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints the page of localvpc, or writes those of all commands.
pub(super) fn man(command: Command, arguments: &ManArguments) -> Done {
    let impossible =
        |error: std::io::Error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("no manual page: {error}"));
    let Some(folder) = &arguments.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(impossible)?;
        print(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(impossible)?;
    clap_mangen::generate_to(command, folder).map_err(impossible)
}
