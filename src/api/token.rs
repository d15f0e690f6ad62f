//! Holds the secret that admits a caller over TCP, and keeps it in a file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use subtle::ConstantTimeEq;

use crate::runtime::cleanup::{self, Record};

/// A bearer token. It is compared in constant time and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Text that is no token, or a file that cannot hold one.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Too easily guessed, or not fit for a header.
    #[error("a token has at least 16 visible ASCII characters without spaces: make one with 'openssl rand -hex 32'")]
    Unfit,
    /// The file could not be read.
    #[error("cannot read the token from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A secret that other users can read is none.
    #[error("the token file {path} has mode {mode:04o}, so that others than its owner can read it: 'chmod 600 {path}'")]
    Shared {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The owner of the file knows the token, and could change it.
    #[error("the token file {path} belongs to user {owner}: it must belong to you or to root")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// More than any token has; a longer file is something else.
const LONGEST: u64 = 4096;

impl Token {
    /// A token; at least 16 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        if text.len() < 16 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unfit);
        }
        Ok(Self(text.to_owned()))
    }

    /// A random token.
    pub fn random() -> Self {
        Self(data_encoding::HEXLOWER.encode(&rand::random::<[u8; 32]>()))
    }

    /// The first line of a file, which only its owner may be able to read.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let wrong = |source| TokenError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(wrong)?;
        // Metadata of the open file: the name may be given to another one meanwhile.
        let found = file.metadata().map_err(wrong)?;
        let mode = found.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Shared {
                path: path.to_owned(),
                mode,
            });
        }
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return Err(TokenError::Foreign {
                path: path.to_owned(),
                owner: found.uid(),
            });
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(wrong)?;
        Self::new(text.lines().next().unwrap_or_default().trim())
    }

    /// The token for use in a header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The file in which a server keeps the token of this start. Dropping it removes the file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Writes the token of the server that listens on `address` where commands of the same user look for it. The server
    /// has the address bound, so an existing file is left from a server that has ended.
    pub fn write(address: SocketAddr, token: &Token, record: Option<&Record>) -> Result<Self, TokenError> {
        let directory = cleanup::own_directory().map_err(|error| TokenError::File {
            path: place(Path::new(""), address),
            source: io::Error::other(error),
        })?;
        Self::write_in(&directory, address, token, record)
    }

    fn write_in(
        directory: &Path,
        address: SocketAddr,
        token: &Token,
        record: Option<&Record>,
    ) -> Result<Self, TokenError> {
        let path = place(directory, address);
        let written = (|| {
            if let Some(record) = record {
                record.token(&path)?;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            writeln!(file, "{}", token.expose())
        })();
        match written {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(TokenError::File { path, source }),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // The record of this process may have removed it before.
        let _ = fs::remove_file(&self.path);
    }
}

fn place(directory: &Path, address: SocketAddr) -> PathBuf {
    directory.join(format!("{address}.{}", cleanup::TOKEN))
}

/// The token that the server at `HOST:PORT` wrote for the commands of its user; `None` if there is no such file. Only
/// names and addresses of loopback have one.
pub fn of_server(authority: &str) -> Option<Token> {
    let directory = cleanup::directory().ok()?;
    candidates(authority)
        .into_iter()
        .find_map(|address| Token::from_file(&place(&directory, address)).ok())
}

fn candidates(authority: &str) -> Vec<SocketAddr> {
    if let Ok(address) = authority.parse() {
        return vec![address];
    }
    let Some((host, port)) = authority.rsplit_once(':') else {
        return Vec::new();
    };
    match port.parse() {
        Ok(port) if host.eq_ignore_ascii_case("localhost") => {
            [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
                .map(|ip| SocketAddr::new(ip, port))
                .to_vec()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TEXT: &str = "0123456789abcdef";

    #[test]
    fn a_token_is_not_printed_and_not_short() {
        let token = Token::new(TEXT).unwrap();
        assert!(!format!("{token:?}").contains("0123"));
        for unfit in ["", "short", "0123456789abcde f", "0123456789abcdé0"] {
            assert!(Token::new(unfit).is_err(), "{unfit}");
        }
        assert!(Token::new(Token::random().expose()).is_ok());
        assert_ne!(Token::random(), Token::random());
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, format!("{TEXT}\n")).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660, 0o622, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::from_file(&path).unwrap_err();
            assert!(
                matches!(&error, TokenError::Shared { mode: found, .. } if *found == mode),
                "{error}"
            );
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Token::from_file(&path).unwrap(), Token::new(TEXT).unwrap());
        }
    }

    #[test]
    fn a_server_replaces_the_token_of_one_that_is_gone_and_removes_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let address: SocketAddr = "127.0.0.1:8460".parse().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, place(folder.path(), address)).unwrap();
        let token = Token::random();
        let file = TokenFile::write_in(folder.path(), address, &token, None).unwrap();
        assert_eq!(file.path().metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(Token::from_file(file.path()).unwrap(), token);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn localhost_is_looked_for_by_both_families() {
        for (authority, expected) in [
            ("127.0.0.1:8460", vec!["127.0.0.1:8460"]),
            ("[::1]:80", vec!["[::1]:80"]),
            ("localhost:81", vec!["127.0.0.1:81", "[::1]:81"]),
            ("vpc.example:81", vec![]),
            ("localhost", vec![]),
        ] {
            let found: Vec<String> = candidates(authority).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{authority}");
        }
    }
}
