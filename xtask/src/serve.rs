//! Serves the built page, on this machine only, by the package's own command.

use anyhow::{Result, bail};

use crate::{command, node, workspace};

/// Serves `www/dist` at `http://localhost:PORT` until the process is stopped.
///
/// # Errors
/// If there is no page, or the port is taken.
pub fn serve(port: u16) -> Result<()> {
    let dist = workspace::www().join("dist");
    if !dist.join("index.html").is_file() {
        bail!("{} holds no page; build it with `make build`", dist.display());
    }
    let mut serve = node::node()?;
    serve.args(["bin/dinghy.mjs", "serve", "dist", "--port", &port.to_string()]);
    command::run(&mut serve)
}
