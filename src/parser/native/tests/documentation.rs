//! The examples of docs/native.md: what is right is accepted, what is wrong on purpose is refused as the page says.

use super::given;
use crate::parser::native::inspect;

#[test]
fn the_examples_of_the_documentation_hold() {
    let page = include_str!("../../../../docs/native.md");
    let mut seen = (0, 0);
    for block in page.split("```yaml").skip(1) {
        let (kind, rest) = block.split_once('\n').unwrap();
        let example = rest.split("```").next().unwrap();
        let checked = inspect("forgehand.yml", example, &given());
        let found: Vec<String> = checked
            .diagnostics
            .iter()
            .map(|it| format!("{}:{}: {}", it.span.line, it.span.column, it.code.0))
            .collect();
        match kind.trim() {
            "" => {
                seen.0 += 1;
                assert!(found.is_empty(), "{found:?}\n{example}");
            }
            "wrong" => {
                seen.1 += 1;
                // `# <- native/code` stands in the line of each finding.
                let lines = example.lines().enumerate();
                let wanted: Vec<(usize, &str)> =
                    lines.filter_map(|(at, line)| Some((at + 1, line.split_once("# <- ")?.1.trim()))).collect();
                assert!(!wanted.is_empty(), "what is wrong is not marked\n{example}");
                let got: Vec<(usize, &str)> =
                    checked.diagnostics.iter().map(|it| (it.span.line as usize, it.code.0)).collect();
                assert_eq!(got, wanted, "\n{example}");
            }
            other => panic!("an example is right, or marked `wrong`, not `{other}`"),
        }
    }
    assert!(seen.0 >= 3 && seen.1 >= 1, "{seen:?}");
}
