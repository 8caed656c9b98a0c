//! A run as a JUnit report: one case a job.

use super::events::Line;
use super::run::Report;
use crate::pipeline::JobStatus;

/// The report as XML.
pub fn report(report: &Report, jobs: &[Line]) -> String {
    let count = |status: JobStatus| jobs.iter().filter(|line| line.status == status).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = escaped(&report.definition.name);
    let skipped = count(JobStatus::Skipped) + count(JobStatus::Cancelled);
    xml.push_str(&format!(
        "<testsuites><testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" skipped=\"{skipped}\" time=\"{:.3}\">\n",
        jobs.len(),
        count(JobStatus::Failed),
        report.took.as_secs_f64()
    ));
    for line in jobs {
        let stage = report.definition.jobs.iter().find(|job| job.name == line.job).map(|job| job.stage.as_str());
        let (job, class) = (escaped(&line.job), escaped(stage.filter(|stage| !stage.is_empty()).unwrap_or("jobs")));
        xml.push_str(&format!(
            "<testcase classname=\"{class}\" name=\"{job}\" time=\"{:.3}\">",
            line.took.as_secs_f64()
        ));
        let reason = escaped(line.reason.as_deref().unwrap_or_default());
        match line.status {
            JobStatus::Failed => {
                let output = escaped(&line.output.join("\n"));
                xml.push_str(&format!("<failure message=\"{reason}\"></failure><system-out>{output}</system-out>"));
            }
            JobStatus::Skipped | JobStatus::Cancelled => xml.push_str(&format!("<skipped message=\"{reason}\"/>")),
            _ => {}
        }
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite></testsuites>\n");
    xml
}

/// Text for XML; characters that XML does not have become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_xml_lacks_is_replaced() {
        assert_eq!(super::escaped("a<b>&\"\u{1b}[31m"), "a&lt;b&gt;&amp;&quot;\u{fffd}[31m");
    }
}
