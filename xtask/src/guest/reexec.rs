//! The library that does for dockerd what it would start itself again for: `guest/reexec.c`.

use std::path::Path;

use anyhow::Result;

use crate::command::{command, run_quietly};

/// Compiles `source` to the shared library `target`.
///
/// # Errors
/// If the compiler finds fault with it.
pub fn build(source: &Path, target: &Path) -> Result<()> {
    run_quietly(
        command("gcc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared", "-s"])
            .arg("-o")
            .arg(target)
            .arg(source),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::{Command, Output, Stdio};
    use std::thread;

    use super::*;
    use crate::workspace;

    const STATE: &str = r#"{"ociVersion":"1.0","annotations":{"note":"\"pid\": 5","pid":"x"}, "pid" : 4711}"#;

    /// A folder with the library and with dockerd's socket for the controller `c0ffee`.
    struct Surroundings {
        folder: PathBuf,
        socket: UnixListener,
    }

    impl Surroundings {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("dinghy-reexec-{name}-{}", std::process::id()));
            std::fs::create_dir_all(folder.join("libnetwork")).unwrap();
            build(&workspace::root().join("guest/reexec.c"), &folder.join("reexec.so")).unwrap();
            let socket = UnixListener::bind(folder.join("libnetwork/c0ffee.sock")).unwrap();
            Self { folder, socket }
        }

        /// Runs `cat` under another name and with the library; it shows the input that is left.
        fn run(&self, arguments: &[&str], input: &str) -> Output {
            let (name, arguments) = arguments.split_first().unwrap();
            let mut cat = Command::new("/bin/cat")
                .arg0(name)
                .args(arguments)
                .env("LD_PRELOAD", self.folder.join("reexec.so"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            cat.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            cat.wait_with_output().unwrap()
        }

        /// As [`run`](Self::run), for `libnetwork-setkey`; with what dockerd has been told, and has answered.
        fn set_key(&self, answer: &'static str) -> (String, Output) {
            let socket = self.socket.try_clone().unwrap();
            let dockerd = thread::spawn(move || {
                let (mut connection, _) = socket.accept().unwrap();
                let mut message = [0; 1024];
                let length = connection.read(&mut message).unwrap();
                connection.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(message[..length].to_vec()).unwrap()
            });
            let root = format!("-exec-root={}", self.folder.display());
            let output = self.run(&["libnetwork-setkey", &root, "0123abcd", "c0ffee"], STATE);
            (dockerd.join().unwrap(), output)
        }
    }

    impl Drop for Surroundings {
        fn drop(&mut self) {
            // A folder that is left in the place for temporary files does no harm.
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }

    #[test]
    fn dockerd_is_told_the_network_namespace_of_a_container() {
        let surroundings = Surroundings::new("told");
        let (message, output) = surroundings.set_key("success");
        assert_eq!(message, r#"{"ContainerID":"0123abcd","Key":"/proc/4711/ns/net"}"#);
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }

    #[test]
    fn what_dockerd_refuses_fails_with_its_reason() {
        let surroundings = Surroundings::new("refused");
        let (_, output) = surroundings.set_key("no such sandbox");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "error: no such sandbox\n");
    }

    #[test]
    fn what_is_not_as_expected_is_left_to_the_program_with_its_input() {
        let surroundings = Surroundings::new("left");
        let root = format!("-exec-root={}", surroundings.folder.display());
        // Of each the program itself, `cat`, refuses the option or misses the files.
        for arguments in [
            &["libnetwork-setkey", &root, "0123abcd", "another-controller"][..],
            &["libnetwork-setkey", &root, "not-hexadecimal", "c0ffee"],
            &["libnetwork-setkey", "0123abcd", "c0ffee"],
            &["set-ipv6", "/nowhere", "all", "false"],
            &["set-ipv6", "/proc/self/ns/net", "../../escape", "false"],
        ] {
            let output = surroundings.run(arguments, STATE);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
            assert!(!output.stderr.is_empty());
        }
        let output = surroundings.run(&["cat"], STATE);
        assert_eq!(String::from_utf8_lossy(&output.stdout), STATE);
    }
}
