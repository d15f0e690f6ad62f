//! Renders cases as JUnit XML, as CI systems read it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::text::escape;

/// Something that was expected, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Case {
    /// What was expected, as a sentence.
    pub name: String,
    /// How long it took, in nanoseconds.
    pub time: u64,
    /// Why it failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// JUnit XML, as CI systems read it: one suite.
pub fn junit(suite: &str, cases: &[Case]) -> String {
    junit_of_suites(&[(suite.to_owned(), cases.to_vec())])
}

/// JUnit XML, as CI systems read it: suites by name.
pub fn junit_of_suites(suites: &[(String, Vec<Case>)]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>");
    for (suite, cases) in suites {
        junit_suite(&mut xml, suite, cases);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn junit_suite(xml: &mut String, suite: &str, cases: &[Case]) {
    let seconds = |nanoseconds: u64| format!("{}.{:03}", nanoseconds / 1_000_000_000, nanoseconds / 1_000_000 % 1000);
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let time = seconds(cases.iter().map(|case| case.time).sum());
    let suite = escape(suite);
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" time=\"{time}\">",
        cases.len()
    );
    for case in cases {
        let (name, time) = (escape(&case.name), seconds(case.time));
        let _ = write!(xml, "<testcase classname=\"{suite}\" name=\"{name}\" time=\"{time}\"");
        let _ = match &case.failure {
            None => writeln!(xml, "/>"),
            Some(failure) => {
                let text = escape(failure);
                let first = escape(failure.lines().next().unwrap_or_default());
                writeln!(xml, "><failure message=\"{first}\">{text}</failure></testcase>")
            }
        };
    }
    xml.push_str("</testsuite>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_names_what_failed_and_escapes_what_xml_would_misread() {
        let cases = [
            Case {
                name: "outage below 500ms".into(),
                time: 1_234_000_000,
                failure: None,
            },
            Case {
                name: "lost < 3".into(),
                time: 0,
                failure: Some("7 were lost\n\u{1b}[31m\"red\"".into()),
            },
        ];
        let xml = junit("move & keep", &cases);
        let expected = concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
            "<testsuites><testsuite name=\"move &amp; keep\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"1.234\">\n",
            "<testcase classname=\"move &amp; keep\" name=\"outage below 500ms\" time=\"1.234\"/>\n",
            "<testcase classname=\"move &amp; keep\" name=\"lost &lt; 3\" time=\"0.000\">",
            "<failure message=\"7 were lost\">7 were lost\n[31m&quot;red&quot;</failure></testcase>\n",
            "</testsuite></testsuites>\n",
        );
        assert_eq!(xml, expected);
    }
}
