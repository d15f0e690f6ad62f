//! Tests who may call a server: root and its own user always, other users of the machine with the token only.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::cli::{code, free_port, localvpc, stdout, wait_until_ready};

/// A user without rights, on every Linux.
const NOBODY: u32 = 65534;

/// A server over TCP, with its records in a folder of the test.
struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut child = localvpc(&["serve", "--listen", &address])
            .args(arguments)
            .env("LOCALVPC_RUN_DIRECTORY", folder.path().join("run"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_ready(&mut child);
        Self { child, address, folder }
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join(format!("run/{}.token", self.address))
    }

    /// The status of a request that a user makes, and the body.
    fn curl(&self, user: u32, path: &str, arguments: &[&str]) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-s", "-m", "10", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("http://{}{path}", self.address))
            .uid(user)
            .gid(user)
            .output()
            .expect("curl (package curl)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs root: make test"]
fn over_loopback_root_is_served_and_another_user_needs_the_token() {
    let server = Server::start(&[]);
    assert_eq!(server.curl(0, "/v1/vpcs", &[]).0, 200);
    let (status, body) = server.curl(NOBODY, "/v1/vpcs", &[]);
    assert_eq!(status, 401, "{body}");
    assert!(
        body.contains("you are user 65534") && body.contains("AuthFailure"),
        "{body}"
    );
    let attach = [
        "-X",
        "POST",
        "-H",
        "content-type: application/json",
        "-d",
        r#"{"tap": "tap0"}"#,
    ];
    assert_eq!(server.curl(NOBODY, "/v1/interfaces/x/attach", &attach).0, 401);
    assert_eq!(server.curl(NOBODY, "/v1/captures", &[]).0, 401);
    assert_eq!(server.curl(NOBODY, "/healthz", &[]).0, 200);

    let file = server.token_file();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    let header = format!("authorization: Bearer {}", token.trim());
    assert_eq!(server.curl(NOBODY, "/v1/vpcs", &["-H", &header]).0, 200);
}

#[test]
#[ignore = "needs root: make test"]
fn the_command_line_finds_the_token_that_the_start_wrote() {
    let server = Server::start(&["--allow-exec"]);
    // Commands in instances require a token: only an authenticated caller learns that the instance does not exist.
    let output = localvpc(&["--server", &server.address, "exec", "nowhere", "true"])
        .env("LOCALVPC_RUN_DIRECTORY", server.folder.path().join("run"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("InvalidInstanceID.NotFound"), "{said}");
    assert_eq!(code(&output), 1);
}

#[test]
#[ignore = "needs root: make test"]
fn the_token_is_gone_with_its_server_however_it_ends() {
    let mut server = Server::start(&[]);
    let file = server.token_file();
    assert!(file.exists());
    let pid = nix::unistd::Pid::from_raw(server.child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    server.child.wait().unwrap();
    assert!(!file.exists());

    let mut killed = Server::start(&[]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let file = killed.token_file();
    assert!(file.exists());
    // The next start removes what it left.
    let mut next = localvpc(&["serve", "--socket"])
        .arg(killed.folder.path().join("next.sock"))
        .env("LOCALVPC_RUN_DIRECTORY", killed.folder.path().join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while file.exists() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    next.kill().unwrap();
    next.wait().unwrap();
    assert!(!file.exists());
}

#[test]
#[ignore = "needs root: make test"]
fn a_token_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = localvpc(&["vpcs", "--token-file", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("mode 0644") && said.contains("chmod 600"), "{said}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_group_that_is_named_may_use_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("api.sock");
    let path = socket.to_str().unwrap();
    for (arguments, mode, served) in [
        (vec!["--socket", path], 0o600, false),
        (vec!["--socket", path, "--socket-group", "65534"], 0o660, true),
    ] {
        let server = Server::start(&arguments);
        let found = socket.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode);
        let (status, body) = server.curl(NOBODY, "/v1/vpcs", &["--unix-socket", path]);
        assert_eq!(status == 200, served, "{status} {body}");
        drop(server);
    }
}
