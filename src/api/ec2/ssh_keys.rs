//! Generates and reads SSH keys as EC2 does, and forms their fingerprints. A private key is handed out once and not
//! kept.
//!
//! "Verify the fingerprint of your key pair" (EC2 guide): that of an RSA key which EC2 made is the SHA-1 digest of the
//! private key in PKCS #8, that of an imported one the MD5 digest of the public key in DER, and that of an Ed25519 key
//! the SHA-256 digest of OpenSSH's public key in Base64.

use data_encoding::BASE64;
use md5::{Digest, Md5};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData, RsaPublicKey as SshRsaPublicKey};
use ssh_key::{HashAlg, LineEnding as SshLineEnding, Mpint, PrivateKey, PublicKey};

use super::error::Ec2Error;
use crate::model::key_pair::KeyType;

/// Bits of an RSA key that EC2 makes.
const RSA_BITS: usize = 2048;
/// Bits of an RSA key that EC2 imports (EC2 guide, "Option 2: Create a key pair using a third-party tool").
const IMPORTED_RSA_BITS: [usize; 3] = [1024, 2048, 4096];

/// A public key with its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Public {
    /// Its kind.
    pub key_type: KeyType,
    /// As OpenSSH writes it, without a comment.
    pub openssh: String,
    /// The fingerprint as EC2 forms it.
    pub fingerprint: String,
}

/// Makes a key. Returns the private half as EC2 hands it out: OpenSSL's traditional form of an RSA key, OpenSSH's of an
/// Ed25519 one.
pub(super) fn generate(key_type: KeyType) -> Result<(Public, String), Ec2Error> {
    match key_type {
        KeyType::Rsa => rsa_key().ok_or_else(failed),
        KeyType::Ed25519 => ed25519_key().ok_or_else(failed),
    }
}

fn failed() -> Ec2Error {
    Ec2Error::new("InternalError", "The key could not be generated.")
}

fn rsa_key() -> Option<(Public, String)> {
    let private = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).ok()?;
    let document = private.to_pkcs8_der().ok()?;
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, document.as_bytes());
    let public = Public {
        key_type: KeyType::Rsa,
        openssh: openssh(rsa_data(&private.to_public_key())?)?,
        fingerprint: with_colons(digest.as_ref()),
    };
    Some((public, private.to_pkcs1_pem(LineEnding::LF).ok()?.to_string()))
}

fn ed25519_key() -> Option<(Public, String)> {
    use ring::signature::KeyPair;
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed).ok()?;
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
    let pair = Ed25519Keypair {
        public: Ed25519PublicKey(pair.public_key().as_ref().try_into().ok()?),
        private: Ed25519PrivateKey::from_bytes(&seed),
    };
    let public = ed25519(pair.public)?;
    let private = PrivateKey::new(KeypairData::Ed25519(pair), "").ok()?;
    Some((public, private.to_openssh(SshLineEnding::LF).ok()?.to_string()))
}

/// Reads a public key in one of the forms that EC2 imports: OpenSSH's, RFC 4716, and DER or PEM of X.509.
pub(super) fn read(material: &[u8]) -> Result<Public, Ec2Error> {
    parse(material)
        .ok_or_else(|| Ec2Error::new("InvalidKeyPair.Format", "Key is not in valid OpenSSH public key format"))
}

fn parse(material: &[u8]) -> Option<Public> {
    let text = std::str::from_utf8(material).ok().map(str::trim);
    let key = match text {
        Some(text) if text.starts_with("---- BEGIN SSH2 PUBLIC KEY ----") => {
            PublicKey::from_bytes(&rfc4716(text)?).ok()?.key_data().clone()
        }
        Some(text) if text.starts_with("-----BEGIN PUBLIC KEY-----") => {
            rsa_data(&RsaPublicKey::from_public_key_pem(text).ok()?)?
        }
        Some(text) if text.starts_with("ssh-") => PublicKey::from_openssh(text).ok()?.key_data().clone(),
        Some(text) => {
            let compact: String = text.split_whitespace().collect();
            let der = BASE64.decode(compact.as_bytes()).ok()?;
            rsa_data(&RsaPublicKey::from_public_key_der(&der).ok()?)?
        }
        None => rsa_data(&RsaPublicKey::from_public_key_der(material).ok()?)?,
    };
    match key {
        KeyData::Ed25519(public) => ed25519(public),
        KeyData::Rsa(public) => imported_rsa(&public),
        // EC2 has no others.
        _ => None,
    }
}

/// The key in a file as in section 3 of RFC 4716: headers, of which a long one continues after a backslash, and Base64.
fn rfc4716(text: &str) -> Option<Vec<u8>> {
    let mut lines = text.lines().map(str::trim).skip(1);
    let mut body = String::new();
    while let Some(line) = lines.next() {
        if line == "---- END SSH2 PUBLIC KEY ----" {
            return BASE64.decode(body.as_bytes()).ok();
        }
        if line.contains(':') {
            let mut header = line;
            while header.ends_with('\\') {
                header = lines.next()?;
            }
        } else {
            body.push_str(line);
        }
    }
    None
}

fn imported_rsa(public: &SshRsaPublicKey) -> Option<Public> {
    let number = |number: &Mpint| Some(BigUint::from_bytes_be(number.as_positive_bytes()?));
    let key = RsaPublicKey::new(number(&public.n)?, number(&public.e)?).ok()?;
    if !IMPORTED_RSA_BITS.contains(&key.n().bits()) {
        return None;
    }
    let der = key.to_public_key_der().ok()?;
    Some(Public {
        key_type: KeyType::Rsa,
        openssh: openssh(KeyData::Rsa(public.clone()))?,
        fingerprint: with_colons(&Md5::digest(der.as_bytes())),
    })
}

fn rsa_data(key: &RsaPublicKey) -> Option<KeyData> {
    let number = |number: &BigUint| Mpint::from_positive_bytes(&number.to_bytes_be()).ok();
    Some(KeyData::Rsa(SshRsaPublicKey {
        e: number(key.e())?,
        n: number(key.n())?,
    }))
}

fn ed25519(public: Ed25519PublicKey) -> Option<Public> {
    let data = KeyData::Ed25519(public);
    let fingerprint = BASE64.encode(data.fingerprint(HashAlg::Sha256).as_bytes());
    Some(Public {
        key_type: KeyType::Ed25519,
        openssh: openssh(data)?,
        fingerprint,
    })
}

fn openssh(data: KeyData) -> Option<String> {
    PublicKey::new(data, "").to_openssh().ok()
}

fn with_colons(digest: &[u8]) -> String {
    let octets: Vec<String> = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ssh-keygen -t rsa -b 1024`, and `-t ed25519`; the fingerprints are those of openssl and `ssh-keygen
    /// -l`.
    const RSA: &str = "AAAAB3NzaC1yc2EAAAADAQABAAAAgQC2g3iqLKk7xU4Sje1GrZYgkBKVL742gvPZuYUM9QobQV1RvmINPgGkkl3nqHAqfNOvobuS\
        0j2DInZwBxsGr4/6hKFO6Ce6Bem1LyfXDcgEqYSzInF+wcCMf9dxwydEWuUfqBphEnQAw3lZ8C4c09Y+7E1gb1Z2/McWvjSZdKkc\
        bw==";
    const RSA_MD5: &str = "0a:30:f0:79:4a:11:54:04:92:cf:55:aa:69:07:19:59";
    /// The same key, by `openssl rsa -pubout -outform DER`.
    const RSA_DER: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC2g3iqLKk7xU4Sje1GrZYgkBKVL742gvPZuYUM9QobQV1RvmINPgGkkl3nqHAq\
        fNOvobuS0j2DInZwBxsGr4/6hKFO6Ce6Bem1LyfXDcgEqYSzInF+wcCMf9dxwydEWuUfqBphEnQAw3lZ8C4c09Y+7E1gb1Z2/McW\
        vjSZdKkcbwIDAQAB";
    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIEef4D+btnUOs0FVj2HsXnd5bA78jfvHKQD+t8YrddNd";
    const ED25519_SHA256: &str = "s8PYuh6lQKAp4z36IklYaWJHfRV2vmMrJGSmFEXMU7I=";

    #[test]
    fn every_form_in_which_a_key_is_imported_gives_the_same_key_and_fingerprint() {
        let (first, rest) = RSA.split_at(70);
        let headers = [
            "",
            "Comment: \"1024-bit RSA\"\n",
            "x-command: /bin/true\nComment: a long \\\none: of two lines\n",
        ];
        let mut forms = headers
            .map(|headers| {
                format!("---- BEGIN SSH2 PUBLIC KEY ----\n{headers}{first}\n{rest}\n---- END SSH2 PUBLIC KEY ----\n")
            })
            .to_vec();
        forms.extend([
            format!("ssh-rsa {RSA} me@example\n"),
            format!("ssh-rsa {RSA}"),
            RSA_DER.to_owned(),
            format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n{}\n{}\n{}\n-----END PUBLIC KEY-----\n",
                &RSA_DER[..64],
                &RSA_DER[64..128],
                &RSA_DER[128..192],
                &RSA_DER[192..]
            ),
        ]);
        for form in forms {
            let public = read(form.as_bytes()).unwrap();
            assert_eq!(public.openssh, format!("ssh-rsa {RSA}"), "{form}");
            assert_eq!((public.key_type, public.fingerprint.as_str()), (KeyType::Rsa, RSA_MD5));
        }
        let public = read(format!("ssh-ed25519 {ED25519} me@example").as_bytes()).unwrap();
        assert_eq!(
            (public.openssh, public.fingerprint.as_str()),
            (format!("ssh-ed25519 {ED25519}"), ED25519_SHA256)
        );
    }

    #[test]
    fn what_is_no_rsa_or_ed25519_key_is_refused() {
        let unfinished = format!("---- BEGIN SSH2 PUBLIC KEY ----\n{RSA}\n");
        let other_type = format!("ssh-ed25519 {RSA}");
        for wrong in [
            "",
            "garbage",
            "ssh-rsa",
            "ssh-rsa AAAA",
            &unfinished,
            &other_type,
            "---- BEGIN SSH2 PUBLIC KEY ----\nsth",
            "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \\",
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJuDyFYOv3LtrdXEIqKFuEMW0dwGJsNs4Xs3cpcqjn3ocdFhwVO1R0eCKPQfzBRr+EVx1KV8swctnTjj5a3T8Rg= x",
        ] {
            let error = read(wrong.as_bytes()).unwrap_err();
            assert_eq!(error.code, "InvalidKeyPair.Format", "{wrong}");
        }
    }

    #[test]
    fn a_generated_key_is_written_as_openssl_and_openssh_read_it() {
        let (public, text) = generate(KeyType::Ed25519).unwrap();
        assert!(text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"), "{text}");
        let private = PrivateKey::from_openssh(&text).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), public.openssh);
        assert_eq!(read(public.openssh.as_bytes()).unwrap(), public);

        let (public, text) = generate(KeyType::Rsa).unwrap();
        assert!(text.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "{text}");
        let private = <RsaPrivateKey as rsa::pkcs1::DecodeRsaPrivateKey>::from_pkcs1_pem(&text).unwrap();
        assert_eq!(private.n().bits(), RSA_BITS);
        assert_eq!(
            openssh(rsa_data(&private.to_public_key()).unwrap()).unwrap(),
            public.openssh
        );
        assert_eq!(public.fingerprint.len(), 59, "SHA-1, not MD5: {}", public.fingerprint);
    }
}
