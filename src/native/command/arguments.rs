//! The command line of `dinghy`.

use super::start_up::{GuestFile, Variable};
use crate::machine::CpuModel;
use crate::native::Published;
use crate::net::Destinations;
use crate::virtio::p9::ShareTag;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// An x86_64 system emulator that boots Linux.
#[derive(Debug, Parser)]
#[command(name = "dinghy", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `dinghy` does.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a machine with its console on this terminal (Ctrl-A X quits)
    Run(Box<RunArguments>),
}

/// Which machine to run.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct RunArguments {
    /// The kernel: a vmlinux or a bzImage [default: build/kernel/vmlinux]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// An initramfs image
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,

    /// The kernel command line [default: a console on hvc0, and /dev/vda as root if there is a disk]
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    pub append: Option<String>,

    /// A disk, written to unless :ro follows; may be given again [default when neither kernel, initrd nor disk
    /// is named: build/guest/guest.ext4, whose changes are forgotten at the end]
    #[arg(long = "disk", value_name = "FILE[:ro]")]
    pub disks: Vec<DiskArgument>,

    /// A directory for the guest to mount (mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt), written to unless
    /// :ro follows; may be given again
    #[arg(long = "share", value_name = "DIR:TAG[:ro]")]
    pub shares: Vec<ShareArgument>,

    /// A variable for the guest's shell and --command; may be given again
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub variables: Vec<Variable>,

    /// A file for the guest, at this absolute path there; may be given again
    #[arg(long = "file", value_name = "FILE:PATH")]
    pub guest_files: Vec<GuestFile>,

    /// What the guest's bash is to run once Docker is ready
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub command: Option<String>,

    /// Go on with the machine in this snapshot; kernel, memory and processor are its own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "append"])]
    pub restore: Option<PathBuf>,

    /// Save the machine in this file when the run ends and the guest still runs: at Ctrl-A X, or when the time is
    /// over
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u64,

    /// The processor: a level of the x86-64 psABI, or all that works
    #[arg(long, value_enum, default_value_t = CpuArgument::Max)]
    pub cpu: CpuArgument,

    /// What executes the guest's instructions
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    pub engine: Engine,

    /// The machine's time: the host's, or counted instructions for runs that repeat exactly
    #[arg(long, value_enum, default_value_t = ClockArgument::Real)]
    pub clock: ClockArgument,

    /// The guest's network
    #[arg(long = "net", value_enum, default_value_t = NetworkArgument::None)]
    pub network: NetworkArgument,

    /// Let 127.0.0.1:HOST reach the guest's TCP port GUEST; may be given again
    #[arg(long = "publish", value_name = "HOST:GUEST")]
    pub published: Vec<Published>,

    /// Let the guest reach these addresses, which are not public; 127.0.0.1 is host.dinghy.internal there; may be
    /// given again
    #[arg(long = "net-allow", value_name = "ADDRESS[/BITS][:PORT]")]
    pub network_allowed: Vec<Destinations>,

    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,

    /// Print a line of JSON on standard error at the end
    #[arg(long)]
    pub stats: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 the guest has powered off (or Ctrl-A X), 1 the host has failed, 2 bad arguments or files,
3 the guest has panicked, 124 timeout; a guest that writes N to the debug-exit port 0xf4 ends with 2N+1.";

/// Which processor the guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CpuArgument {
    /// SSE2
    V1,
    /// SSE4.2 and POPCNT
    V2,
    /// AVX2, FMA, BMI2
    V3,
    /// V3, AES-NI, SHA, ADX, and what else there is
    Max,
}

impl From<CpuArgument> for CpuModel {
    fn from(argument: CpuArgument) -> Self {
        match argument {
            CpuArgument::V1 => Self::V1,
            CpuArgument::V2 => Self::V2,
            CpuArgument::V3 => Self::V3,
            CpuArgument::Max => Self::Max,
        }
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The interpreter
    Interp,
    /// The fastest that is there, which natively is the interpreter
    Auto,
    /// Compiled code alone: only the command in node has it
    Jit,
}

/// Where the machine's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClockArgument {
    /// The host's clock
    Real,
    /// The number of instructions
    Icount,
}

/// What the guest's network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkArgument {
    /// No network card
    None,
    /// Connections go out from this computer
    Host,
}

/// A disk as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArgument {
    /// The file.
    pub path: PathBuf,
    /// Whether `:ro` follows.
    pub is_read_only: bool,
}

impl FromStr for DiskArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, is_read_only) = match text.strip_suffix(":ro") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.is_empty() {
            return Err("name a file");
        }
        Ok(Self { path: name.into(), is_read_only })
    }
}

/// A shared directory as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareArgument {
    /// The directory.
    pub path: PathBuf,
    /// The name under which the guest mounts it.
    pub tag: ShareTag,
    /// Whether `:ro` follows.
    pub is_read_only: bool,
}

impl FromStr for ShareArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (text, is_read_only) = match text.strip_suffix(":ro") {
            Some(text) => (text, true),
            None => (text, false),
        };
        // A directory may have colons in its name; a tag has none.
        let (path, tag) = text.rsplit_once(':').filter(|(path, _)| !path.is_empty()).unwrap_or_default();
        if path.is_empty() {
            return Err("name a directory and a tag: DIR:TAG".to_owned());
        }
        let tag = ShareTag::new(tag).map_err(|error| error.to_string())?;
        Ok(Self { path: path.into(), tag, is_read_only })
    }
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("give a positive number of seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_disk_is_read_only_by_its_suffix() {
        let disk = |path: &str, is_read_only| DiskArgument { path: path.into(), is_read_only };
        assert_eq!("a:b.img".parse(), Ok(disk("a:b.img", false)));
        assert_eq!("a.img:ro".parse(), Ok(disk("a.img", true)));
        assert!(":ro".parse::<DiskArgument>().is_err());
        assert!("".parse::<DiskArgument>().is_err());
    }

    #[test]
    fn a_share_has_a_directory_and_a_tag() {
        let share = |path: &str, tag, is_read_only| {
            let tag = ShareTag::new(tag).unwrap();
            Ok(ShareArgument { path: path.into(), tag, is_read_only })
        };
        assert_eq!("/a:work".parse(), share("/a", "work", false));
        assert_eq!("/a:b:work:ro".parse(), share("/a:b", "work", true));
        assert_eq!(".:ro:ro".parse(), share(".", "ro", true));
        for text in ["", "/a", ":work", "/a:", "/a:ro", "/a:two words"] {
            assert!(text.parse::<ShareArgument>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_timeout_is_a_positive_number() {
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1500)));
        for text in ["0", "-1", "nan", "inf", "soon"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
