//! Plays the console blocks of README: each command as it is printed, each output compared with what README shows.
//!
//! Parts that differ between runs (MACs, identifiers, process ids, times, counts of packets) are removed from both
//! before they are compared. `[…]` stands for any lines. Everything runs in a network namespace and a mount namespace
//! of its own, so that the default address of the server is free.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;

/// Generous: the machine that runs the tests is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// A command of a block, and the lines that README shows below it.
struct Shown {
    command: String,
    output: Vec<String>,
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The console blocks below a heading.
fn blocks(heading: &str) -> Vec<Vec<Shown>> {
    let page = page();
    let section = page
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("README has no section {heading:?}"));
    let blocks = section.split("```console\n").skip(1);
    blocks.map(|block| shown(block.split("```").next().unwrap())).collect()
}

fn shown(block: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for line in block.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("# ") {
            Some(command) => all.push(Shown {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            None => all.last_mut().unwrap().output.push(line.to_owned()),
        }
    }
    all
}

/// A line without the parts that differ between runs.
fn plain(line: &str) -> String {
    let rules = [
        (r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC"),
        (r"fe80::[0-9a-f:]+", "LINK-LOCAL"),
        (r"\b(eni|subnet|vpc|rtb|dopt|fault)-[0-9a-f]+", "ID"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d\d:\d\d:\d\d\.\d+", "TIME"),
        (r"time=[0-9.]+ ms", "time=T"),
        (r"id \d+, seq \d+", "id N, seq N"),
        (r"-t \d+ ", "-t PID "),
        (r"\s+", " "),
    ];
    rules.iter().fold(line.trim().to_owned(), |text, (pattern, name)| {
        Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    })
}

/// Whether lines are those that README shows, where `[…]` stands for any number of them.
fn fits(shown: &[String], said: &[String]) -> bool {
    match shown.split_first() {
        None => said.is_empty(),
        Some((first, rest)) if first == "[…]" => (0..=said.len()).any(|skipped| fits(rest, &said[skipped..])),
        Some((first, rest)) => said.first().is_some_and(|line| plain(line) == plain(first)) && fits(rest, &said[1..]),
    }
}

/// Namespaces with nothing but `lo`.
struct Place {
    holder: Child,
    folder: tempfile::TempDir,
    servers: Vec<Child>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_localvpc"), folder.path().join("localvpc")).unwrap();
        let script = "set -e; mount -t tmpfs t /run; ip link set lo up; echo ready; exec sleep 3600";
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n");
        Self {
            holder,
            folder,
            servers: Vec::new(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        // nsenter begins in the root directory of the namespace.
        let line = format!("cd {}; {line}", self.folder.path().display());
        let mut command = Command::new("nsenter");
        command
            .args([
                "-t",
                &self.holder.id().to_string(),
                "--net",
                "--mount",
                "--",
                "bash",
                "-c",
                &line,
            ])
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            .env_remove("LOCALVPC_SERVER")
            .env_remove("RUST_LOG");
        command
    }

    /// Both outputs of a command, line by line, whatever its end.
    fn play(&self, line: &str) -> Vec<String> {
        let output = self.command(&format!("exec 2>&1; {line}")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Starts a server, and returns what it prints up to the line that begins with `last`.
    fn serve(&mut self, line: &str, last: &str) -> Vec<String> {
        let mut child = self
            .command(&format!("exec {line}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
        {
            let is_last = line.starts_with(last);
            said.push(line);
            if is_last {
                break;
            }
        }
        self.servers.push(child);
        said
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for server in self.servers.iter_mut().chain([&mut self.holder]) {
            // A server that has ended cannot be killed.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Plays commands until their output matches README; reports all other outputs.
fn play(place: &Place, block: &[Shown], instead: &dyn Fn(&str) -> String) {
    let mut wrong = String::new();
    for shown in block {
        let began = Instant::now();
        loop {
            let said = place.play(&instead(&shown.command));
            if fits(&shown.output, &said) {
                break;
            }
            // Counters and neighbor entries take a moment to settle.
            if began.elapsed() > SOON / 6 {
                let (expected, said) = (shown.output.join("\n  "), said.join("\n  "));
                writeln!(wrong, "# {}\nREADME:\n  {expected}\nhere:\n  {said}", shown.command).unwrap();
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert!(wrong.is_empty(), "README shows what is not so:\n{wrong}");
}

#[test]
fn the_first_commands_of_readme_are_targets_of_the_makefile() {
    let makefile = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let mut count = 0;
    for shown in blocks("Three commands").iter().flatten() {
        let target = shown.command.split_whitespace().nth(1).unwrap();
        assert!(makefile.contains(&format!("\n{target}:")), "{}", shown.command);
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
#[ignore = "needs root: make test"]
fn hosts_to_play_with_and_the_api_are_as_readme_shows_them() {
    let mut place = Place::new();
    let hosts = blocks("Hosts to play with");
    let lab = &hosts[0][0];
    let said = place.serve(&lab.command, "Ctrl-C");
    assert!(fits(&lab.output, &said), "{said:#?}");
    let enter = Regex::new(r"nsenter -t (\d+)").unwrap();
    let pid = |line: &str| enter.captures(line).map(|found| found[1].to_owned());
    let (printed, real) = (pid(&lab.output[1]).unwrap(), pid(&said[1]).unwrap());
    let instead = |command: &str| command.replace(&format!("-t {printed} "), &format!("-t {real} "));

    let (ports, others): (Vec<_>, Vec<_>) = hosts
        .into_iter()
        .skip(1)
        .flatten()
        .partition(|shown| shown.command == "localvpc ports");
    play(&place, &others, &instead);
    // Counters depend on packets of the hosts' kernels: only the columns and the first words of each row are compared.
    let said = place.play(&ports[0].command);
    let begins = |line: &String| plain(line).split(' ').take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        ports[0].output.iter().map(begins).collect::<Vec<_>>(),
        said.iter().map(begins).collect::<Vec<_>>()
    );

    let traffic = instead(&format!("nsenter -t {printed} -a ping -qi 0.3 10.0.1.11"));
    let traffic = place
        .command(&format!("exec {traffic}"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    place.servers.push(traffic);
    let http: Vec<Shown> = blocks("Over HTTP").into_iter().flatten().collect();
    // A move is permanent, so each command is played once; the capture shows the frames of that moment.
    for shown in http {
        let said = place.play(&shown.command);
        if shown.command.contains("capture") {
            // tcpdump's line about its input is not in README.
            let said: Vec<_> = said.iter().filter(|line| !line.starts_with("reading from")).collect();
            assert_eq!(said.len(), shown.output.len(), "{}: {said:#?}", shown.command);
            assert!(
                said.iter()
                    .all(|line| line.contains(" IP ") || line.contains(" ARP,") || line.contains(" IP6 "))
            );
        } else {
            assert!(fits(&shown.output, &said), "{}\n{said:#?}", shown.command);
        }
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_network_that_lasts_is_as_readme_shows_it() {
    let mut place = Place::new();
    let mut blocks = blocks("A network that lasts").into_iter();
    let [lab, edits, kill] = [(); 3].map(|()| blocks.next().unwrap());
    let said = place.serve(&lab[0].command, "Ctrl-C");
    assert!(fits(&lab[0].output, &said), "{said:#?}");
    let host = Regex::new(r"nsenter -t (\d+)").unwrap().captures(&said[1]).unwrap()[1].to_owned();
    for shown in edits {
        let said = place.play(&shown.command);
        assert!(fits(&shown.output, &said), "{}\n{said:#?}", shown.command);
    }
    assert_eq!(place.play(&kill[0].command), Vec::<String>::new());
    let said = place.serve(&kill[1].command, "Ctrl-C");
    assert!(fits(&kill[1].output, &said), "{said:#?}");
    assert!(
        said[1].contains(&format!("-t {host} ")),
        "the host is another: {said:#?}"
    );
    let said = place.play(&format!("nsenter -t {host} -a ping -c1 -W5 10.0.1.11"));
    assert!(said.iter().any(|line| line.contains("1 received")), "{said:#?}");
    assert_eq!(place.play("kill -INT $(cat shop.state/lock)"), Vec::<String>::new());
    place.servers.last_mut().unwrap().wait().unwrap();
    assert_eq!(place.play("localvpc down --all"), Vec::<String>::new());
}

/// The network that README changes by `next.yaml`.
const SHOP: &str = "
vpcs:
  shop: { cidr_blocks: [10.0.0.0/16] }
subnets:
  left: { vpc: shop, cidr_block: 10.0.1.0/24 }
instances:
  a: { subnet: left, ipv4: [10.0.1.10, 10.0.1.50] }
  b: { subnet: left, ipv4: [10.0.1.11] }
route_tables:
  out: { vpc: shop, subnets: [left], routes: [{ to: 192.0.2.0/24, via: a }] }
";

#[test]
#[ignore = "needs root: make test"]
fn a_network_as_a_file_is_as_readme_shows_it() {
    let mut place = Place::new();
    std::fs::write(place.folder.path().join("shop.yaml"), SHOP).unwrap();
    let next = SHOP
        .replace("[10.0.1.10, 10.0.1.50]", "[10.0.1.10]")
        .replace(
            "ipv4: [10.0.1.11] }",
            "ipv4: [10.0.1.11, 10.0.1.50], source_dest_check: false }",
        )
        .replace("via: a", "via: b");
    std::fs::write(place.folder.path().join("next.yaml"), next).unwrap();
    place.serve("localvpc up shop.yaml", "Ctrl-C");
    let block: Vec<Shown> = blocks("A network as a file").into_iter().flatten().collect();
    let (settings, commands): (Vec<_>, Vec<_>) = block
        .into_iter()
        .partition(|shown| shown.command.starts_with("export LOCALVPC"));
    let settings: String = settings.iter().map(|shown| format!("{}; ", shown.command)).collect();
    for shown in commands {
        let said = place.play(&format!("{settings}{}", shown.command));
        assert!(fits(&shown.output, &said), "{}\n{said:#?}", shown.command);
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_tap_of_ones_own_is_attached_as_readme_shows_it() {
    let mut place = Place::new();
    let block: Vec<Shown> = blocks("Your own TAP").into_iter().flatten().collect();
    let (serve, requests) = block.split_first().unwrap();
    place.serve(serve.command.trim_end_matches(" &"), "Ctrl-C");
    for shown in requests {
        let said = place
            .play(&shown.command.replace("curl -s ", "curl -sS --fail-with-body "))
            .join("\n");
        assert!(
            said.contains("\"id\"") && !said.contains("\"code\""),
            "{}\n{said}",
            shown.command
        );
    }
    assert!(
        place.play("ip -o link show tap0")[0].contains("tap0"),
        "the TAP is there"
    );
}
