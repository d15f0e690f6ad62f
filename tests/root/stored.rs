//! Devices that are stored with systemd outlive the server and its keeper.

use std::process::{Command, Stdio};

use crate::replaced::State;
use crate::support::cli::{code, stdout};

/// Does what systemd does for a service with `FileDescriptorStoreMax=`: keeps what the service stores, and gives it to the next
/// process of the service. Kills the service with all of its processes in between, as `systemctl kill` does.
const MANAGER: &str = r#"
import fcntl, json, os, select, signal, socket, subprocess, sys, time
folder, binary = sys.argv[1].rstrip('/'), sys.argv[2]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(folder + '/notify')
held = []

def receive(seconds):
    end = time.monotonic() + seconds
    while select.select([notify], [], [], max(0, end - time.monotonic()))[0]:
        message, fds, _, _ = socket.recv_fds(notify, 4096, 8)
        lines = dict(line.split('=', 1) for line in message.decode().splitlines())
        if 'FDSTORE' in lines:
            held.extend((lines['FDNAME'], fd) for fd in fds)
        if 'FDSTOREREMOVE' in lines:
            for entry in [entry for entry in held if entry[0] == lines['FDNAME']]:
                held.remove(entry)
                os.close(entry[1])

def start(log):
    arguments = [binary, 'serve', '--state', folder + '/state', '--socket', folder + '/api.sock']
    environment = dict(os.environ, NOTIFY_SOCKET=folder + '/notify', FDSTORE='100', LISTEN_FDS=str(len(held)),
                       LISTEN_FDNAMES=':'.join(name for name, _ in held))
    child = os.fork()
    if child == 0:
        for place, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for _, fd in held]):
            os.dup2(fd, 3 + place)
        os.closerange(3 + len(held), 1000)
        environment['LISTEN_PID'] = str(os.getpid())
        out = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.execve(binary, arguments, environment)
    deadline = time.monotonic() + 60
    while 'Ctrl-C ends it' not in (open(log).read() if os.path.exists(log) else ''):
        assert time.monotonic() < deadline, 'it does not start'
        time.sleep(0.05)
    return child

def curl(path, *more):
    line = ['curl', '-sf', '--unix-socket', folder + '/api.sock', 'http://localhost' + path, *more]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout

def line(pid):
    try:
        return open('/proc/' + pid + '/cmdline').read()
    except OSError:
        # Another test's process, which has ended meanwhile.
        return ''

def index():
    out = subprocess.run(['ip', '-o', 'link', 'show', 'dev', 'stored0'], capture_output=True, text=True)
    return out.stdout.split(':')[0] if out.returncode == 0 else 'gone'

server = start(folder + '/log1')
for path, body in [('/v1/vpcs', '{"name": "v", "cidr_blocks": ["10.0.0.0/16"]}'),
                   ('/v1/subnets', '{"name": "s", "vpc": "v", "cidr_block": "10.0.1.0/24"}'),
                   ('/v1/interfaces', '{"name": "x", "subnet": "s"}'),
                   ('/v1/interfaces/x/attach', '{"tap": "stored0"}')]:
    curl(path, '--json', body)
receive(1)
print('stored', len(held), flush=True)
before = index()
keeper = [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and
          line(pid).startswith('localvpc-keeper') and folder in line(pid)]
os.kill(server, signal.SIGKILL)
os.waitpid(server, 0)
for process in keeper:
    os.kill(process, signal.SIGKILL)
print('keepers', len(keeper), flush=True)
time.sleep(0.3)
print('same', before == index() and before != 'gone', flush=True)
server = start(folder + '/log2')
print('status', json.loads(curl('/v1/interfaces/x'))['status'], flush=True)
print('ports', len(json.loads(curl('/v1/ports'))['ports']), flush=True)
os.kill(server, signal.SIGTERM)
os.waitpid(server, 0)
receive(1)
print('held', len(held), flush=True)
print('after', index(), flush=True)
"#;

#[test]
#[ignore = "needs root: make test"]
fn a_device_that_is_stored_with_systemd_outlives_the_server_and_the_keeper() {
    let state = State::new();
    let manager = state.path("manager.py");
    std::fs::write(&manager, MANAGER).unwrap();
    // In a network namespace of its own, without another device.
    let output = Command::new("unshare")
        .args(["--net", "python3"])
        .arg(&manager)
        .arg(state.path(""))
        .arg(env!("CARGO_BIN_EXE_localvpc"))
        .env("LOCALVPC_RUN_DIRECTORY", state.path("run"))
        .env_remove("LOCALVPC_SERVER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
    assert_eq!(code(&output), 0, "{said}");
    // The device and its text; gone from the store, and from the machine, when the service is ended in order.
    let expected = "stored 2\nkeepers 1\nsame True\nstatus in-use\nports 1\nheld 0\nafter gone\n";
    assert_eq!(stdout(&output), expected, "{said}");
}
