use super::*;

fn node(text: &str, merge: Merge) -> Node {
    read(FileId(0), text, Options { merge, limits: Limits::default() }).unwrap().remove(0)
}

fn problem(text: &str) -> (u32, u32, String) {
    let error = read(FileId(0), text, Options { merge: Merge::Ruby, limits: Limits::default() }).unwrap_err();
    (error.span.line, error.span.column, error.problem)
}

fn place(node: &Node) -> (u32, u32) {
    (node.span.line, node.span.column)
}

#[test]
fn every_node_knows_its_place() {
    let root = node("a:\n  - x\n  - ü: [1, two]\n", Merge::Ruby);
    let list = root.get("a").unwrap().as_sequence().unwrap();
    assert_eq!(place(&list[0]), (2, 5));
    let entry = &list[1].as_mapping().unwrap().entries()[0];
    assert_eq!((place(&entry.key), place(&entry.value)), ((3, 5), (3, 8)));
    assert_eq!(place(&entry.value.as_sequence().unwrap()[1]), (3, 12));
}

#[test]
fn aliases_keep_the_place_of_their_anchor() {
    let root = node("a: &x\n  k: v\nb: *x\nc:\n  <<: *x\n  l: w\n", Merge::Ruby);
    assert_eq!(place(root.get("b").unwrap().get("k").unwrap()), (2, 6));
    assert_eq!(place(root.get("c").unwrap().get("k").unwrap()), (2, 6));
    assert_eq!(root.get("c").unwrap().as_mapping().unwrap().len(), 2);
}

#[test]
fn merge_keys_by_order_in_ruby_and_by_rank_elsewhere() {
    let text = "x: &x {a: new, b: new}\njob:\n  a: own\n  <<: *x\n  b: own\n";
    let seen = |merge| {
        let root = node(text, merge);
        let job = root.get("job").unwrap();
        ["a", "b"].map(|key| job.get(key).unwrap().as_scalar().unwrap().text.to_string())
    };
    assert_eq!(seen(Merge::Ruby), ["new", "own"]);
    assert_eq!(seen(Merge::Standard), ["own", "own"]);
}

#[test]
fn the_first_of_a_list_of_merges_wins() {
    let root = node("a: &a {k: 1}\nb: &b {k: 2, l: 3}\nc:\n  <<: [*a, *b]\n", Merge::Ruby);
    let job = root.get("c").unwrap();
    assert_eq!(job.get("k").unwrap().typed(Schema::Ruby), Some(Typed::Int(1)));
    assert_eq!(job.get("l").unwrap().typed(Schema::Ruby), Some(Typed::Int(3)));
}

#[test]
fn several_documents_and_none() {
    let options = Options { merge: Merge::Ruby, limits: Limits::default() };
    assert_eq!(read(FileId(0), "spec: {}\n---\na: 1\n", options).unwrap().len(), 2);
    assert!(read(FileId(0), "# nothing\n", options).unwrap().is_empty());
}

#[test]
fn bombs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        text += &format!("a{n}: &a{n} [{refs}]\n");
    }
    assert!(problem(&text).2.contains("aliases expand to more than"), "{}", problem(&text).2);
    assert!(problem(&"[".repeat(10_000)).2.contains("too deep"));
    assert_eq!(problem("a: &a [*a]").2, "the alias `*a` stands inside its own anchor: it would hold itself");
}

#[test]
fn syntax_errors_say_where() {
    assert_eq!(problem("a: b\n c: d\n").0, 2);
    assert_eq!(problem("a: *bade\nx: &base 1\n").2, "unknown alias `*bade`");
    assert_eq!(problem("x: &base 1\na: *bade\n").2, "unknown alias `*bade`; did you mean `*base`?");
    let (line, column, _) = problem("a: 1\nb: \u{1}\n");
    assert_eq!((line, column), (2, 4));
}

#[test]
fn a_chain_of_aliases_is_as_deep_as_what_it_brings() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for n in 1..5_000 {
        text += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert!(problem(&text).2.contains("too deep"), "{}", problem(&text).2);
}

#[test]
fn complaints_say_what_to_do() {
    for (text, place, word) in [
        ("a:\n  - \"b\n  - c\n", (2, 5), "quote"),
        ("a:\n\tb: c\n", (2, 1), "tab"),
        ("a: @b\n", (1, 4), "quotes"),
        ("a:\n  b:c\n  d: e\n", (3, 4), "`b: `"),
        ("a: b\n  c: d\n", (2, 4), "line above"),
        ("a: b: c\n", (1, 5), "second"),
        ("a:\n    b: c\n   d: e\n", (3, 4), "indentation"),
        ("a: {b: c\nd: e\n", (2, 2), "`}`"),
        ("a: 'b\nc: d\ne: echo 'f'\n", (1, 4), "line 3, column 9"),
        ("a: 'it's'\n", (1, 8), "double quotes"),
        ("a: \"b\" c\n", (1, 8), "single quotes"),
        ("a: [b] c\n", (1, 8), "`]`"),
        ("a: \"b\" && c\n", (1, 9), "`&`"),
        ("a: *\n", (1, 5), "`*`"),
        ("- a: b\n  c\n- d: e\n", (2, 3), "`:`"),
        ("-a: b\n c: d\n", (2, 3), "`- a:`"),
        ("a: - b\n", (1, 4), "own"),
        ("a: \"\\d\"\n", (1, 5), "backslash"),
        ("a: |x\n  b\n", (1, 5), "next line"),
    ] {
        let (line, column, problem) = problem(text);
        assert_eq!((line, column), place, "{text:?}: {problem}");
        assert!(problem.contains(word), "{text:?}: {problem}");
    }
}
